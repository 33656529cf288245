import type { Clock, ClockTimer } from '../clock'
import { DeliveryQueue, type Delivery } from './delivery-queue'
import type { NewEvent, Dropped } from '../events'
import { InFlight } from './in-flight'
import type { Limits } from '../limits'
import { isExpired, type Message } from './message'

export type { Delivery } from './delivery-queue'

/** A longer timer would fire at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1

/** One subscription of one session. */
export interface Subscription {
  session: Session
  filter: string
  shareName?: string
  qos: 0 | 1
  noLocal: boolean
  retainAsPublished: boolean
}

/** The connection that a session is attached to. */
export interface SessionLink {
  /** The place of its CONNECT among all. */
  readonly number: number
  /** Unacknowledged QoS 1 messages that may be on their way. */
  readonly window: number
  /** What the client said of packet ids that it has not acknowledged. */
  readonly receiveMaximum: number
  /** The peer reads slower than it is written to. */
  readonly congested: boolean
  /** Writes the message; false if it was not sent and never will be. */
  transmit(delivery: Delivery, packetId?: number): boolean
  /** Another connection uses the client id now. */
  takeOver(): void
  /** Tells of a message that is lost. Holds nothing of the connection, since it is kept after its end. */
  readonly drop: DropReport
}

export type DropReport = (message: Message, qos: 0 | 1, reason: NewEvent<Dropped>['reason']) => void

export interface SessionSettings {
  clientId: string
  /** A 3.1.1 session cannot be resumed by an MQTT 5 client, nor the reverse. */
  protocolVersion: 3 | 5
  expirySeconds: number
}

/** The bytes of QoS 1 messages that all sessions of an endpoint hold together. */
export interface Holdings {
  bytes: number
}

/** What outlives a connection: subscriptions, and QoS 1 messages that are not acknowledged. */
export class Session {
  readonly subscriptions = new Map<string, Subscription>()
  expiryTimer: ClockTimer | undefined
  readonly #limits: Limits
  readonly #clock: Clock
  readonly #holdings: Holdings
  /** Its own share of `#holdings`. */
  #held = 0
  #link: SessionLink | undefined
  /** That of its last link also reports what is lost while there is none. */
  #drop: DropReport | undefined
  /** Published while no link was there, or not acknowledged on an earlier one. */
  #stored = new DeliveryQueue()
  /** Published since, and waiting for the window. Does not wait for what is stored: IoT Core promises no order. */
  #live = new DeliveryQueue()
  readonly #inFlight: InFlight
  #replayTimer: ClockTimer | undefined
  #redeliveryTimer: ClockTimer | undefined

  constructor(
    readonly settings: SessionSettings,
    limits: Limits,
    clock: Clock,
    holdings: Holdings = { bytes: 0 },
  ) {
    this.#limits = limits
    this.#clock = clock
    this.#holdings = holdings
    this.#inFlight = new InFlight(limits.redeliverAfterMs)
  }

  get link(): SessionLink | undefined {
    return this.#link
  }

  /** Whether a QoS 1 message could reach the client, now or later. */
  get reachable(): boolean {
    return this.#link !== undefined || this.settings.expirySeconds > 0
  }

  attach(link: SessionLink): void {
    this.#link = link
    this.#drop = link.drop
    this.pump()
  }

  /** What was not acknowledged is sent again on the next link: as IoT Core may, with a new id and without DUP. */
  detach(): void {
    this.#link = undefined
    this.#replayTimer?.cancel()
    this.#redeliveryTimer?.cancel()
    this.#replayTimer = this.#redeliveryTimer = undefined
    const waiting = [...this.#inFlight.clear(), ...this.#stored.toArray(), ...this.#live.toArray()]
    this.#stored = new DeliveryQueue(waiting)
    this.#live = new DeliveryQueue()
    this.#account()
  }

  /** The session is over, and what it held is gone. */
  discard(): void {
    this.detach()
    this.#stored = new DeliveryQueue()
    this.#account()
  }

  deliver(delivery: Delivery): void {
    if (delivery.qos === 0) {
      this.#link?.transmit(delivery)
      return
    }
    const bytes = delivery.message.bytes
    const { queuedBytes, queuedTotalBytes } = this.#limits
    const full = this.#stored.bytes + this.#live.bytes + bytes > queuedBytes
    if (full || this.#holdings.bytes + bytes > queuedTotalBytes) {
      this.#drop?.(delivery.message, 1, 'queue-full')
      return
    }
    if (this.#link === undefined) this.#stored.push(delivery)
    else this.#live.push(delivery)
    this.pump()
  }

  acknowledge(packetId: number): void {
    if (!this.#inFlight.acknowledge(packetId, this.#clock.now())) return
    this.#account()
    this.pump()
  }

  /** Sends what waits, as far as the window and the link let it. */
  pump(): void {
    while (this.#live.length > 0 && this.#hasRoom()) this.#send(this.#live.shift()!)
    this.#replay()
    this.#account()
  }

  /** Sends what is stored, at the pace of IoT Core. */
  #replay(): void {
    const { replayPerSecond } = this.#limits
    while (this.#replayTimer === undefined && this.#stored.length > 0 && this.#hasRoom()) {
      if (!this.#send(this.#stored.shift()!) || replayPerSecond === Infinity) continue
      if (this.#link === undefined) return // the link closed while sending
      this.#replayTimer = this.#clock.setTimeout(() => {
        this.#replayTimer = undefined
        this.pump()
      }, 1000 / replayPerSecond)
    }
  }

  #account(): void {
    const held = this.#stored.bytes + this.#live.bytes + this.#inFlight.bytes
    this.#holdings.bytes += held - this.#held
    this.#held = held
  }

  #hasRoom(): boolean {
    const link = this.#link
    if (link === undefined || link.congested || this.#inFlight.size >= link.window) return false
    return this.#inFlight.countPacketIds(this.#clock.now()) < link.receiveMaximum
  }

  /** False if there was nothing to be sent. */
  #send(delivery: Delivery): boolean {
    const link = this.#link!
    const now = this.#clock.now()
    if (isExpired(delivery.message, now)) {
      link.drop(delivery.message, 1, 'expired')
      return false
    }
    // Before it is sent, so that a link that closes while sending finds it here.
    const { sent, packetId } = this.#inFlight.add(delivery, now)
    if (!link.transmit(delivery, packetId)) {
      this.#inFlight.remove(sent)
      return false
    }
    this.#watchRedelivery()
    return true
  }

  /** One timer, for the message that was sent first: most are acknowledged long before it is due. */
  #watchRedelivery(): void {
    const { redeliverAfterMs } = this.#limits
    const { oldest } = this.#inFlight
    if (this.#link === undefined || this.#redeliveryTimer !== undefined) return
    if (oldest === undefined || redeliverAfterMs === Infinity) return
    const due = oldest.sentAt + redeliverAfterMs - this.#clock.now()
    const wait = Math.min(Math.max(0, due), MAX_TIMER_MS)
    this.#redeliveryTimer = this.#clock.setTimeout(() => {
      this.#redeliveryTimer = undefined
      this.#redeliver()
      this.#watchRedelivery()
      this.pump()
    }, wait)
  }

  /** With a new packet id and without DUP; a PUBACK for an older id is still good. */
  #redeliver(): void {
    const { redeliverAfterMs, redeliverForMs } = this.#limits
    const now = this.#clock.now()
    for (const sent of this.#inFlight.sentUntil(now - redeliverAfterMs)) {
      const link = this.#link
      if (link === undefined) return
      const { delivery, firstSentAt } = sent
      const over = now - firstSentAt >= redeliverForMs
      if (over || isExpired(delivery.message, now)) {
        this.#inFlight.remove(sent)
        link.drop(delivery.message, 1, over ? 'not-acknowledged' : 'expired')
      } else if (link.congested || this.#inFlight.countPacketIds(now) >= link.receiveMaximum) {
        this.#inFlight.postpone(sent, now) // a client that set Receive Maximum must not see more packet ids
      } else {
        const packetId = this.#inFlight.sendAgain(sent, now)
        if (!link.transmit({ ...delivery, redelivery: true }, packetId)) this.#inFlight.remove(sent)
      }
    }
  }
}
