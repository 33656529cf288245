import { randomUUID } from 'node:crypto'
import type { AuthorizerEvent } from './authorizer-event'

/** The part of Lambda's context object that an authorizer can make use of here. */
export interface LambdaContext {
  callbackWaitsForEmptyEventLoop: boolean
  functionName: string
  functionVersion: string
  invokedFunctionArn: string
  memoryLimitInMB: string
  awsRequestId: string
  logGroupName: string
  logStreamName: string
  getRemainingTimeInMillis(): number
}

export type LambdaCallback = (error?: Error | string | null, answer?: unknown) => void

/** Holds a Lambda function; written as a method so that a handler typed by `@types/aws-lambda` fits too. */
export interface LambdaFunction {
  handler(event: AuthorizerEvent, context: LambdaContext, callback: LambdaCallback): unknown
}

export class HandlerTimeout extends Error {
  override readonly name = 'HandlerTimeout'
}

export interface Invocation {
  /** The name that the function goes by: the authorizer's. */
  name: string
  region: string
  accountId: string
  timeoutMs: number
}

/**
 * Calls a handler as Lambda would: event and answer pass through JSON, the answer is what it returns,
 * what its promise resolves to, or what it gives to its callback. Rejects with the handler's own error,
 * or with HandlerTimeout; whatever comes after that is ignored.
 */
export function invoke(
  lambda: LambdaFunction,
  event: AuthorizerEvent,
  invocation: Invocation,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const { timeoutMs } = invocation
    const timer = setTimeout(() => {
      reject(new HandlerTimeout(`the handler did not answer within ${timeoutMs / 1000} s`))
    }, timeoutMs)
    timer.unref()
    const deadline = Date.now() + timeoutMs

    const fail = (error: unknown): void => {
      clearTimeout(timer)
      reject(asError(error))
    }
    const succeed = (answer: unknown): void => {
      try {
        const json = JSON.stringify(answer) as string | undefined
        clearTimeout(timer)
        resolve(json === undefined ? null : JSON.parse(json))
      } catch (error) {
        fail(new Error(`the handler's answer cannot be written as JSON: ${asError(error).message}`))
      }
    }
    const callback: LambdaCallback = (error, answer) => (error == null ? succeed(answer) : fail(error))

    try {
      const copy = JSON.parse(JSON.stringify(event)) as AuthorizerEvent
      const returned = lambda.handler(copy, createContext(invocation, deadline), callback)
      if (isThenable(returned)) returned.then(succeed, fail)
      else if (returned !== undefined || lambda.handler.length < 3) succeed(returned)
    } catch (error) {
      fail(error)
    }
  })
}

function createContext({ name, region, accountId }: Invocation, deadline: number): LambdaContext {
  const requestId = randomUUID()
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: name,
    functionVersion: '$LATEST',
    invokedFunctionArn: `arn:aws:lambda:${region}:${accountId}:function:${name}`,
    memoryLimitInMB: '128',
    awsRequestId: requestId,
    logGroupName: `/aws/lambda/${name}`,
    logStreamName: `local/[$LATEST]${requestId.replaceAll('-', '')}`,
    getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function'
}

/** `callback('Unauthorized')` is common, so an error may be a string; keep whatever it is readable. */
function asError(value: unknown): Error {
  return value instanceof Error ? value : new Error(String(value))
}
