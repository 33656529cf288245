import type { AuthorizerEvent } from '../authorizer/authorizer-event'
import type { Clock } from '../clock'
import { createContextData, type FunctionIdentity, type LambdaContextData } from './lambda-context'

/** A Lambda function, wherever it runs. */
export interface Handler {
  /** Resolves once it can be called; rejects with what has to be mended first. */
  start(): Promise<void>
  /** One call. It has to end by itself when `call.signal` is aborted; nobody looks at its answer then. */
  invoke(event: AuthorizerEvent, call: HandlerCall): Promise<unknown>
  close(): Promise<void>
}

export interface HandlerCall {
  context: LambdaContextData
  /** Aborted when the time is up. */
  signal: AbortSignal
  remainingMs: () => number
  /** Called with what the handler prints, where that can be told from the output of this process. */
  log: HandlerOutput
}

export type HandlerOutput = (stream: 'stdout' | 'stderr', text: string) => void

export interface Invocation extends FunctionIdentity {
  timeoutMs: number
  clock: Clock
  log: HandlerOutput
}

/** The handler itself went wrong, and this is what it said. */
export class HandlerError extends Error {
  constructor(errorType: string, message: string, stack: string | undefined) {
    super(message)
    this.name = errorType
    this.stack = stack ?? `${errorType}: ${message}`
  }
}

export class HandlerTimeout extends Error {
  override readonly name = 'HandlerTimeout'
}

export type HandlerFaultRule =
  | 'answer-not-json'
  | 'answer-too-large'
  | 'handler-closed'
  | 'handler-exited'
  | 'handler-not-loaded'
  | 'lambda-unreachable'
  | 'lambda-status'

/** What kept a handler from being called, or its answer from being read; `rule` names it. */
export class HandlerFault extends Error {
  override readonly name = 'HandlerFault'

  constructor(
    readonly rule: HandlerFaultRule,
    message: string,
  ) {
    super(message)
  }
}

/** What Lambda allows a function to answer. */
const MAX_ANSWER_BYTES = 6_291_556

/**
 * Calls a handler as Lambda would: event and answer pass through JSON, and there is a limit to its time.
 * Rejects with the handler's own error, with HandlerTimeout or with HandlerFault; what comes afterwards is ignored.
 */
export function invoke(handler: Handler, event: AuthorizerEvent, invocation: Invocation): Promise<unknown> {
  const { timeoutMs, clock, log } = invocation
  const outcome = new Promise((resolve, reject) => {
    const deadline = clock.now() + timeoutMs
    const limit = new AbortController()
    const timer = clock.setTimeout(() => {
      reject(new HandlerTimeout(`the handler did not answer within ${timeoutMs / 1000} s`))
      limit.abort()
    }, timeoutMs)
    const call: HandlerCall = {
      context: createContextData(invocation),
      signal: limit.signal,
      remainingMs: () => deadline - clock.now(),
      log,
    }
    handler
      .invoke(event, call)
      .then(resolve, reject)
      .finally(() => timer.cancel())
  })
  clock.waitFor?.(outcome, timeoutMs)
  return outcome
}

/** An answer as it arrives over the network; nothing, as from a handler without `return`, becomes null. */
export function writeAnswer(answer: unknown): string {
  let json: string | undefined
  try {
    json = JSON.stringify(answer)
  } catch (error) {
    throw new HandlerFault(
      'answer-not-json',
      `the handler's answer cannot be written as JSON: ${asError(error).message}`,
    )
  }
  checkAnswerSize(Buffer.byteLength((json ??= 'null')))
  return json
}

export function checkAnswerSize(bytes: number): void {
  if (bytes <= MAX_ANSWER_BYTES) return
  throw new HandlerFault(
    'answer-too-large',
    `the handler's answer is larger than the ${MAX_ANSWER_BYTES} bytes (6 MB) that Lambda lets a function answer`,
  )
}

/** `callback('Unauthorized')` is common, so an error may be a string; keep whatever it is readable. */
export function asError(value: unknown): Error {
  return value instanceof Error ? value : new Error(String(value))
}
