import type { Packet } from 'mqtt-packet'
import type { Clock, ClockTimer } from '../clock'
import type { ConnectRequest } from './connect-request'
import type { ConnectionEvent } from './connection'
import type { Journal } from '../events'
import type { Limits } from '../limits'
import { remainingExpiry } from '../broker/message'
import type { PacketStream } from './packet-stream'
import type { Policy } from '../policy/policy'
import type { Delivery, DropReport, Holdings, SessionLink } from '../broker/session'
import type { TokenBucket } from './token-bucket'

export interface OutletContext {
  /** The place of its CONNECT among all. */
  readonly number: number
  readonly limits: Limits
  /** What waits for slow readers, over all connections. */
  readonly outputTotal: Holdings
  readonly clock: Clock
  readonly request: ConnectRequest
  /** Its policy is the one that holds at the moment. */
  readonly grant: { readonly policy: Policy }
  readonly stream: Pick<PacketStream, 'send' | 'congested' | 'bufferedBytes'>
  /** PUBLISH packets in both directions. */
  readonly publishes: TokenBucket
  /** There may be room again for what waits. */
  pump(): void
  takeOver(): void
  record(event: ConnectionEvent): void
  readonly drop: DropReport
}

/** A stream that has more than this to write tells when it has written it. */
const COUNTED_BYTES = 64 * 1024

/** Apart from the connection, which it must not keep in memory. */
export function createDropReport(journal: Journal, connectionId: string, clientId: string): DropReport {
  return ({ topic }, qos, reason) => {
    journal.record({ type: 'dropped', connectionId, clientId, topic, qos, reason })
  }
}

/** What messages leave by on their way to one client: what its policy, its pace and its limits let through. */
export class Outlet implements SessionLink {
  readonly #context: OutletContext
  #turn: ClockTimer | undefined
  /** Its share of `outputTotal`. */
  #waiting = 0

  constructor(context: OutletContext) {
    this.#context = context
  }

  get number(): number {
    return this.#context.number
  }

  get drop(): DropReport {
    return this.#context.drop
  }

  get window(): number {
    return this.#context.limits.inFlight
  }

  get receiveMaximum(): number {
    return this.#context.request.receiveMaximum
  }

  /** True also while the rate of messages is used up; then what waits is pumped when its turn comes. */
  get congested(): boolean {
    return this.#context.stream.congested || this.#awaitTurn()
  }

  transmit(delivery: Delivery, packetId?: number): boolean {
    const { limits, outputTotal, clock, request, grant, stream, publishes } = this.#context
    const { message, qos, retain, redelivery } = delivery
    const { topic, payload, expiresAt } = message
    const decision = grant.policy.receive(topic)
    this.settle()
    const full = stream.bufferedBytes > limits.outboundBytes || outputTotal.bytes > limits.outboundTotalBytes
    if (qos === 0 && full) {
      this.drop(message, qos, 'slow-reader')
      return false
    }
    if (decision.allowed && !publishes.take()) {
      this.drop(message, qos, 'throttled')
      return false
    }
    const bytes = payload.length
    this.#context.record({
      type: 'receive',
      topic,
      qos,
      bytes,
      ...(redelivery === true && { redelivery }),
      allowed: decision.allowed,
      decision,
    })
    if (!decision.allowed) return false
    const packet: Packet = {
      cmd: 'publish',
      topic,
      payload,
      qos,
      retain,
      dup: false,
      ...(packetId !== undefined && { messageId: packetId }),
      ...(request.protocolVersion === 5 && {
        properties: {
          ...message.properties,
          ...(expiresAt !== undefined && {
            messageExpiryInterval: remainingExpiry(expiresAt, clock.now()),
          }),
        },
      }),
    }
    if (stream.send(packet, request.maximumPacketSize)) return true
    this.drop(message, qos, 'packet-too-large')
    return false
  }

  takeOver(): void {
    this.#context.takeOver()
  }

  /** Counts what waits; what the system is about to take anyway is not worth counting. */
  settle(): void {
    const { outputTotal, stream } = this.#context
    const bytes = stream.bufferedBytes > COUNTED_BYTES ? stream.bufferedBytes : 0
    outputTotal.bytes += bytes - this.#waiting
    this.#waiting = bytes
  }

  /** Nothing leaves any more. */
  close(): void {
    this.#turn?.cancel()
    this.#context.outputTotal.bytes -= this.#waiting
    this.#waiting = 0
  }

  #awaitTurn(): boolean {
    const { clock, publishes, pump } = this.#context
    const waitMs = publishes.waitMs(1)
    if (waitMs === 0) return false
    this.#turn ??= clock.setTimeout(() => {
      this.#turn = undefined
      pump()
    }, waitMs)
    return true
  }
}
