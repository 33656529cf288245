import type { ErrorCode, MqttError as PublicMqttError, Stage } from '../index.js'
import type { NativeFailure } from './native.js'

export class MqttError extends Error implements PublicMqttError {
  override readonly name = 'MqttError' as const
  readonly code: ErrorCode
  readonly stage: Stage
  readonly hint: string
  readonly retryable: boolean
  declare readonly warnings?: readonly string[]
  declare readonly reasonCode?: number
  declare readonly reasonString?: string

  /** `cause` is the error underneath, where it is one of JavaScript's. */
  constructor(failure: NativeFailure, cause?: unknown) {
    super(failure.message, causeOption(failure, cause))
    this.code = failure.code
    this.stage = failure.stage
    this.hint = failure.hint
    this.retryable = failure.retryable
    // Absent, not undefined: what is printed of an error should hold nothing that says nothing.
    const { warnings = [] } = failure
    if (warnings.length > 0) this.warnings = warnings
    if (failure.reasonCode !== undefined) this.reasonCode = failure.reasonCode
    if (failure.reasonString !== undefined) this.reasonString = failure.reasonString
  }
}

/** An option or argument that cannot work. */
export function invalidOption(message: string, hint = ''): MqttError {
  return new MqttError({ code: 'ERR_INVALID_OPTION', stage: 'options', message, hint, retryable: false })
}

export function closed(): MqttError {
  const message = 'the connection is closed'
  const hint = 'This connection does not come back: connect anew. Its promise `closed` tells why it ended.'
  return new MqttError({ code: 'ERR_CLOSED', stage: 'operation', message, hint, retryable: false })
}

function causeOption({ cause }: NativeFailure, given: unknown): ErrorOptions | undefined {
  if (given !== undefined) return { cause: given }
  return cause === undefined ? undefined : { cause: causeOf(cause) }
}

/** The error underneath came from the system or the network: a stack of ours would only point at this line. */
function causeOf(message: string): Error {
  const cause = new Error(message)
  cause.stack = `Error: ${message}`
  return cause
}
