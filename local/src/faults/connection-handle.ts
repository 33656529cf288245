import { requireCode } from './fault'
import type { FaultStream } from './fault-stream'
import type { FaultApplied } from '../events'

/**
 * A connection from the endpoint's side, for what a test wants to happen to it now. Nothing here fails on a connection
 * that has gone.
 */
export interface ConnectionHandle {
  /** As in the events, and in the authorizer's `connectionMetadata.id`. */
  readonly connectionId: string
  /** Known once CONNECT was read. */
  readonly clientId: string | undefined
  /** MQTT 5: a DISCONNECT, by default 0x98 (administrative action), then the end; 3.1.1: the end without a word. */
  disconnect(reasonCode?: number, reason?: string): void
  /** The end without a word. */
  close(): void
  /** The end by a TCP reset; what was written last may be lost. */
  reset(): void
  /**
   * From here on nothing is read and nothing is written, and the socket stays: the endpoint may give the connection up,
   * but the client is not told. The socket goes with `close`, `reset` or the endpoint.
   */
  halfOpen(): void
  /** Nothing is read and nothing is written until `resume`; the endpoint's own clocks run on. */
  pause(): void
  resume(): void
  /** Writes these bytes as they are, past all faults. */
  send(bytes: Uint8Array): void
}

const ADMINISTRATIVE_ACTION = 0x98

export function createHandle(stream: FaultStream): ConnectionHandle {
  const act = (action: FaultApplied['action'], message: string, run: (text: string) => void): void => {
    if (stream.gone) return
    stream.record({ action, message })
    run(`an action: ${message}`)
  }
  return {
    connectionId: stream.connectionId,
    get clientId() {
      return stream.clientId
    },
    disconnect(reasonCode = ADMINISTRATIVE_ACTION, reason) {
      requireCode(reasonCode, 'reasonCode')
      const message = `DISCONNECT with code ${reasonCode} (MQTT 5) and the end`
      act('disconnect', message, (text) => stream.disconnect(text, reasonCode, reason))
    },
    close: () => act('close', 'the connection is closed', (text) => stream.close(text)),
    reset: () => act('reset', 'the connection is reset', (text) => stream.reset(text)),
    halfOpen: () => act('halfOpen', 'nothing is read or written from here on', () => stream.freeze()),
    pause: () => act('pause', 'nothing is read or written for now', () => stream.setPaused(true)),
    resume: () => act('resume', 'reading and writing go on', () => stream.setPaused(false)),
    send(bytes) {
      if (!(bytes instanceof Uint8Array)) throw new TypeError('send takes a Buffer or a Uint8Array')
      const copy = Buffer.from(bytes)
      act('send', `${copy.length} bytes are sent as they are`, () => stream.write(copy))
    },
  }
}
