import { request as requestHttp, type IncomingMessage } from 'node:http'
import { request as requestHttps } from 'node:https'
import type { AuthorizerEvent } from '../authorizer/authorizer-event'
import {
  asError,
  checkAnswerSize,
  HandlerError,
  HandlerFault,
  type Handler,
  type HandlerCall,
} from './handler'
import { isObject } from '../options'

/** A function behind the Lambda Invoke API, as `sam local start-lambda` and Lambda's runtime interface emulator offer it. */
export interface LambdaApiFunction {
  /** Such as `http://127.0.0.1:3001`. */
  endpoint: string
  /** The emulator calls each function `function`. */
  functionName: string
}

export class LambdaApiHandler implements Handler {
  readonly #url: URL
  readonly #functionName: string

  /** Throws TypeError where the two members are not what they should be. */
  constructor(lambda: LambdaApiFunction) {
    const { url, functionName } = check(lambda)
    this.#url = url
    this.#functionName = functionName
  }

  /** The function may be started later, and again: whether it answers is for each call to find out. */
  async start(): Promise<void> {}

  async invoke(event: AuthorizerEvent, { signal }: HandlerCall): Promise<unknown> {
    const response = await this.#post(JSON.stringify(event), signal)
    const text = await this.#read(response)
    const status = response.statusCode ?? 0
    if (status !== 200) {
      const hint =
        status === 404 ? `; is there a function "${this.#functionName}" at ${this.#url.origin}?` : ''
      throw new HandlerFault(
        'lambda-status',
        `${this.#url.href} answered HTTP ${status}: ${shorten(text)}${hint}`,
      )
    }
    const failed = response.headers['x-amz-function-error'] !== undefined
    const answer = parse(text)
    // Some versions of the emulator leave the header out.
    if (failed || isErrorAnswer(answer)) throw functionError(answer, text)
    if (answer === undefined) {
      const shown = text === '' ? 'nothing' : shorten(text)
      throw new HandlerFault('answer-not-json', `${this.#url.href} answered what is not JSON: ${shown}`)
    }
    return answer
  }

  async close(): Promise<void> {}

  #post(body: string, signal: AbortSignal): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const send = this.#url.protocol === 'https:' ? requestHttps : requestHttp
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
      // No connection is kept: one that a restarted emulator has closed would fail the next call.
      const request = send(this.#url, { method: 'POST', headers, signal, agent: false }, resolve)
      request.on('error', (error) => reject(this.#unreachable(error)))
      request.end(body)
    })
  }

  async #read(response: IncomingMessage): Promise<string> {
    const chunks: Buffer[] = []
    let bytes = 0
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        checkAnswerSize((bytes += chunk.length))
        chunks.push(chunk)
      }
    } catch (error) {
      if (error instanceof HandlerFault) throw error
      throw this.#unreachable(asError(error))
    }
    return Buffer.concat(chunks).toString()
  }

  #unreachable(error: NodeJS.ErrnoException): HandlerFault {
    // Connecting to both addresses of "localhost" fails with one error that has a code and no message.
    const reason = error.message || error.code || 'no connection'
    const port = this.#url.port || (this.#url.protocol === 'https:' ? '443' : '80')
    return new HandlerFault(
      'lambda-unreachable',
      `the Lambda Invoke API at ${this.#url.origin} cannot be reached: ${reason}; start it with ` +
        `"sam local start-lambda --port ${port}", the runtime interface emulator with "docker run -p ${port}:8080 <image>", or a server of your own`,
    )
  }
}

function check(lambda: unknown): { url: URL; functionName: string } {
  const { endpoint, functionName } = isObject(lambda) ? lambda : {}
  const url = typeof endpoint === 'string' && URL.canParse(endpoint) ? new URL(endpoint) : undefined
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new TypeError('lambda.endpoint must be a URL such as "http://127.0.0.1:3001"')
  }
  // The address is shown in events, and none of the local tools asks who calls.
  if (url.username !== '' || url.password !== '') {
    throw new TypeError('lambda.endpoint must not hold a user name or password')
  }
  if (typeof functionName !== 'string' || !/^[\w:$-]{1,170}$/.test(functionName)) {
    throw new TypeError(
      'lambda.functionName must be the name of a function, such as "MyAuthorizer" in a SAM template, ' +
        'or "function" for the runtime interface emulator',
    )
  }
  const path = url.pathname.replace(/\/$/, '')
  url.pathname = `${path}/2015-03-31/functions/${encodeURIComponent(functionName)}/invocations`
  return { url, functionName }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function isErrorAnswer(answer: unknown): boolean {
  return (
    isObject(answer) &&
    typeof answer['errorMessage'] === 'string' &&
    'errorType' in answer &&
    !('isAuthenticated' in answer)
  )
}

/** Python's runtime calls the stack `stackTrace`, that of Node `trace`. */
function functionError(answer: unknown, text: string): HandlerError {
  if (!isObject(answer)) return new HandlerError('Error', shorten(text), undefined)
  const { errorType, errorMessage, stackTrace, trace } = answer
  const type = typeof errorType === 'string' ? errorType : 'Error'
  const message = typeof errorMessage === 'string' ? errorMessage : shorten(text)
  const lines = Array.isArray(stackTrace) ? stackTrace : Array.isArray(trace) ? trace : []
  if (lines.length === 0) return new HandlerError(type, message, undefined)
  const stack = lines.map((line) => String(line).trimEnd()).join('\n')
  return new HandlerError(type, message, stack.startsWith(type) ? stack : `${type}: ${message}\n${stack}`)
}

function shorten(text: string): string {
  return text.length > 200 ? `${text.slice(0, 197)}...` : text
}
