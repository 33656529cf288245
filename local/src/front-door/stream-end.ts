import type { DisconnectReason } from '../events'

/** Why a stream of bytes ended, from a transport that knows more than that it did. */
export class StreamEnd extends Error {
  override readonly name = 'StreamEnd'

  constructor(
    readonly disconnectReason: DisconnectReason,
    message: string,
  ) {
    super(message)
  }
}
