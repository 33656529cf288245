import type { AuthorizerEvent } from '../authorizer/authorizer-event'
import { asError, writeAnswer, type Handler, type HandlerCall } from './handler'
import { createContext, type LambdaContext } from './lambda-context'

export type LambdaCallback = (error?: Error | string | null, answer?: unknown) => void

/** Holds a Lambda function; written as a method so that a handler typed by `@types/aws-lambda` fits too. */
export interface LambdaFunction {
  handler(event: AuthorizerEvent, context: LambdaContext, callback: LambdaCallback): unknown
}

/** A JavaScript function of this process. It shares its thread: one that never returns stops everything. */
export class FunctionHandler implements Handler {
  readonly #lambda: LambdaFunction

  constructor(lambda: LambdaFunction) {
    this.#lambda = lambda
  }

  async start(): Promise<void> {}

  async invoke(event: AuthorizerEvent, { context, remainingMs }: HandlerCall): Promise<unknown> {
    const copy = JSON.parse(JSON.stringify(event)) as AuthorizerEvent
    const answer = await callFunction(this.#lambda, copy, createContext(context, remainingMs))
    return JSON.parse(writeAnswer(answer))
  }

  async close(): Promise<void> {}
}

/** The answer is what a handler returns, what its promise resolves to, or what it gives to its callback. */
export function callFunction(
  lambda: LambdaFunction,
  event: AuthorizerEvent,
  context: LambdaContext,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const fail = (error: unknown): void => reject(asError(error))
    const callback: LambdaCallback = (error, answer) => (error == null ? resolve(answer) : fail(error))
    try {
      const returned = lambda.handler(event, context, callback)
      if (isThenable(returned)) returned.then(resolve, fail)
      else if (returned !== undefined || lambda.handler.length < 3) resolve(returned)
    } catch (error) {
      fail(error)
    }
  })
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function'
}
