import type { Clock, ClockTimer } from './clock'
import type { NewEvent, Dropped } from './events'
import { isExpired, messageBytes, type Message } from './message'

/** One subscription of one session. */
export interface Subscription {
  session: Session
  filter: string
  shareName?: string
  qos: 0 | 1
  noLocal: boolean
  retainAsPublished: boolean
}

/** A message on its way to one session. */
export interface Delivery {
  message: Message
  qos: 0 | 1
  retain: boolean
}

/** The connection that a session is attached to. */
export interface SessionLink {
  /** Unacknowledged QoS 1 messages that may be on their way. */
  readonly window: number
  /** The peer reads slower than it is written to. */
  readonly congested: boolean
  /** Writes the message; false if it was not sent and never will be. */
  transmit(delivery: Delivery, packetId?: number): boolean
  /** Another connection uses the client id now. */
  takeOver(): void
  drop(message: Message, qos: 0 | 1, reason: NewEvent<Dropped>['reason']): void
}

export interface SessionSettings {
  clientId: string
  /** A 3.1.1 session cannot be resumed by an MQTT 5 client, nor the reverse. */
  protocolVersion: 3 | 5
  expirySeconds: number
}

/** What outlives a connection: subscriptions, and QoS 1 messages that are not acknowledged. */
export class Session {
  readonly subscriptions = new Map<string, Subscription>()
  expiryTimer: ClockTimer | undefined
  #link: SessionLink | undefined
  #queue: Delivery[] = []
  #head = 0
  #queuedBytes = 0
  #inFlight = new Map<number, Delivery>()
  #lastPacketId = 0

  constructor(
    readonly settings: SessionSettings,
    readonly queueLimitBytes: number,
    readonly clock: Clock,
  ) {}

  get link(): SessionLink | undefined {
    return this.#link
  }

  /** Whether a QoS 1 message could reach the client, now or later. */
  get reachable(): boolean {
    return this.#link !== undefined || this.settings.expirySeconds > 0
  }

  attach(link: SessionLink): void {
    this.#link = link
    this.pump()
  }

  /** What was not acknowledged is sent again on the next link: as IoT Core may, with a new id and without DUP. */
  detach(): void {
    this.#link = undefined
    this.#queue = [...this.#inFlight.values(), ...this.#queue.slice(this.#head)]
    this.#head = 0
    this.#queuedBytes = this.#queue.reduce((sum, { message }) => sum + messageBytes(message), 0)
    this.#inFlight.clear()
  }

  deliver(delivery: Delivery): void {
    if (delivery.qos === 0) {
      this.#link?.transmit(delivery)
      return
    }
    const bytes = messageBytes(delivery.message)
    if (this.#queuedBytes + bytes > this.queueLimitBytes) {
      this.#link?.drop(delivery.message, 1, 'queue-full')
      return
    }
    this.#queue.push(delivery)
    this.#queuedBytes += bytes
    this.pump()
  }

  acknowledge(packetId: number): void {
    if (this.#inFlight.delete(packetId)) this.pump()
  }

  /** Sends what waits, as far as the window and the link let it. */
  pump(): void {
    while (this.#link !== undefined && this.#head < this.#queue.length) {
      const link = this.#link
      if (link.congested || this.#inFlight.size >= link.window) break
      const delivery = this.#shift()
      if (isExpired(delivery.message, this.clock.now())) {
        link.drop(delivery.message, 1, 'expired')
        continue
      }
      const packetId = this.#nextPacketId()
      // Before it is sent, so that a link that closes while sending finds it here.
      this.#inFlight.set(packetId, delivery)
      if (!link.transmit(delivery, packetId)) this.#inFlight.delete(packetId)
    }
  }

  #shift(): Delivery {
    const delivery = this.#queue[this.#head++]!
    this.#queuedBytes -= messageBytes(delivery.message)
    if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
    return delivery
  }

  #nextPacketId(): number {
    do {
      this.#lastPacketId = this.#lastPacketId === 65_535 ? 1 : this.#lastPacketId + 1
    } while (this.#inFlight.has(this.#lastPacketId))
    return this.#lastPacketId
  }
}
