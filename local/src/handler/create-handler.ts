import type { Handler } from './handler'
import { FunctionHandler, type LambdaFunction } from './handler-function'
import { ModuleHandler, type ModuleHandlerOptions } from './handler-module'
import { LambdaApiHandler, type LambdaApiFunction } from './lambda-api'

/** Where an authorizer's Lambda function is; exactly one of the three. */
export interface HandlerSource {
  /** The function itself, or the path of its module. */
  handler?: LambdaFunction['handler'] | string
  /** A path, absolute or seen from the working directory, or a file: URL; loaded again when it changes. */
  module?: string
  /** A function behind the Lambda Invoke API. */
  lambda?: LambdaApiFunction
}

/** Throws TypeError where the source is none. */
export function createHandler(source: HandlerSource, options: Omit<ModuleHandlerOptions, 'module'>): Handler {
  const { handler, module, lambda } = source
  const given = [handler, module, lambda].filter((one) => one !== undefined)
  if (given.length !== 1) {
    const problem = given.length === 0 ? 'it has none of them' : `it has ${given.length} of them`
    throw new TypeError(
      `needs one of handler (a function), module (a path) and lambda ({ endpoint, functionName }); ${problem}`,
    )
  }
  if (typeof handler === 'function') {
    // An authorizer may have members of its own, which its handler reaches through `this`.
    return new FunctionHandler({ handler: handler.bind(source) })
  }
  if (lambda !== undefined) return new LambdaApiHandler(lambda)
  const path = handler ?? module
  if (typeof path !== 'string' || path === '') {
    const wrong = handler === undefined ? 'module must be a path' : 'handler must be a function or a path'
    throw new TypeError(`${wrong}, such as "./authorizer.mjs"`)
  }
  return new ModuleHandler({ ...options, module: path })
}
