import { randomUUID } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { AuthorizerRequest } from '../authorizer/authorizer-event'
import type { Refusal } from '../connection/refusal'

/** What the front door knows about a stream of MQTT bytes. */
export interface Origin extends Omit<AuthorizerRequest, 'mqtt'> {
  remoteAddress: string
  /** The socket under the stream of MQTT bytes, where that is another one. */
  socket?: Duplex
  /** What the front door has left of the time for CONNECT. */
  connectWithinMs?: number
  /** Turned away already; CONNECT is awaited only to answer it with the reason. */
  refusal?: Refusal
}

export const createOrigin = (remoteAddress: string | undefined): Origin => ({
  connectionId: randomUUID(),
  remoteAddress: remoteAddress ?? '127.0.0.1',
})
