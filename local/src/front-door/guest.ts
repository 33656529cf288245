import type { TLSSocket } from 'node:tls'
import type { ClockTimer } from '../clock'
import type { ConnectionServices } from '../connection/connection-services'
import type { Origin } from './origin'
import { Refusal } from '../connection/refusal'

/** A client past the TLS handshake and not yet an MQTT connection; its time for that is limited. */
export class Guest {
  readonly #services: ConnectionServices
  readonly #deadline: number
  readonly #timer: ClockTimer
  #settled = false

  constructor(
    readonly socket: TLSSocket,
    readonly origin: Origin,
    acceptedAt: number,
    services: ConnectionServices,
  ) {
    this.#services = services
    const { connectTimeoutMs } = services.limits
    this.#deadline = acceptedAt + connectTimeoutMs
    this.#timer = services.clock.setTimeout(() => {
      this.refuse(new Refusal('connect', 'connect-timeout', `no CONNECT within ${connectTimeoutMs} ms`))
      socket.destroy()
    }, this.remainingMs)
    // A reset before anybody else listens must not become an uncaught error.
    socket.on('error', () => undefined)
    socket.once('close', () => {
      const message = 'the client closed the connection before it sent CONNECT'
      this.refuse(new Refusal('connect', 'connection-lost', message))
      this.#timer.cancel()
    })
  }

  get settled(): boolean {
    return this.#settled
  }

  /** What is left of the time for CONNECT. */
  get remainingMs(): number {
    return Math.max(1, this.#deadline - this.#services.clock.now())
  }

  /** Records why it is turned away, if that was not done. The time limit stays: it may read its answer slowly. */
  refuse({ stage, rule, message }: Refusal): void {
    if (this.#settled) return
    this.#settled = true
    const { connectionId } = this.origin
    this.#services.journal.record({ type: 'connect-refused', connectionId, stage, rule, message })
  }

  /** From here on it is a Connection, which has the time limit of its own. */
  becomeConnection(): void {
    this.#settled = true
    this.#timer.cancel()
  }
}
