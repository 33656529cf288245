import type { Delivery } from './delivery-queue'

/** A QoS 1 message that waits for its PUBACK, under every packet id that it was sent with. */
export interface Sent {
  readonly delivery: Delivery
  readonly packetIds: number[]
  readonly firstSentAt: number
  sentAt: number
}

/** The QoS 1 messages of one connection that were sent and not acknowledged. */
export class InFlight {
  readonly #byPacketId = new Map<number, Sent>()
  /** In the order of their latest sending. */
  readonly #sent = new Set<Sent>()
  /**
   * Packet ids whose message was acknowledged under another one, by the time of that: a PUBACK for them may be
   * on its way, and must not count for a message that got the same id meanwhile.
   */
  readonly #settled = new Map<number, number>()
  readonly #settleMs: number
  #lastPacketId = 0
  #bytes = 0

  /** How long a PUBACK for a packet id that was settled is waited for. */
  constructor(settleMs: number) {
    this.#settleMs = settleMs
  }

  /** Messages. */
  get size(): number {
    return this.#sent.size
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Packet ids that the client has not acknowledged: what its Receive Maximum bounds. */
  countPacketIds(now: number): number {
    for (const [packetId, since] of this.#settled) {
      if (now - since < this.#settleMs) break
      this.#settled.delete(packetId)
    }
    return this.#byPacketId.size + this.#settled.size
  }

  /** The message whose latest sending is the longest ago. */
  get oldest(): Sent | undefined {
    const [oldest] = this.#sent
    return oldest
  }

  /** Those whose latest sending was at `time` or earlier. */
  sentUntil(time: number): Sent[] {
    const result: Sent[] = []
    for (const sent of this.#sent) {
      if (sent.sentAt > time) break
      result.push(sent)
    }
    return result
  }

  /** Returns the packet id for it. */
  add(delivery: Delivery, now: number): { sent: Sent; packetId: number } {
    this.#bytes += delivery.message.bytes
    const sent: Sent = { delivery, packetIds: [], firstSentAt: now, sentAt: now }
    return { sent, packetId: this.sendAgain(sent, now) }
  }

  /** Returns the new packet id for it; the older ones stay good. */
  sendAgain(sent: Sent, now: number): number {
    const packetId = this.#nextPacketId()
    sent.packetIds.push(packetId)
    this.#byPacketId.set(packetId, sent)
    this.postpone(sent, now)
    return packetId
  }

  /** As if it had been sent now. */
  postpone(sent: Sent, now: number): void {
    sent.sentAt = now
    this.#sent.delete(sent)
    this.#sent.add(sent)
  }

  /** False for a packet id that waits for no PUBACK; that of a duplicate is none to complain about. */
  acknowledge(packetId: number, now: number): boolean {
    if (this.#settled.delete(packetId)) return true
    const sent = this.#byPacketId.get(packetId)
    if (sent === undefined) return false
    this.remove(sent)
    for (const other of sent.packetIds) if (other !== packetId) this.#settled.set(other, now)
    return true
  }

  remove(sent: Sent): void {
    if (!this.#sent.delete(sent)) return // went with its connection
    this.#bytes -= sent.delivery.message.bytes
    for (const packetId of sent.packetIds) this.#byPacketId.delete(packetId)
  }

  /** Forgets everything; returns what was not acknowledged, in the order of its first sending. */
  clear(): Delivery[] {
    const left = [...this.#sent].toSorted(
      (a, b) => a.firstSentAt - b.firstSentAt || a.packetIds[0]! - b.packetIds[0]!,
    )
    this.#sent.clear()
    this.#bytes = 0
    this.#byPacketId.clear()
    this.#settled.clear()
    return left.map(({ delivery }) => delivery)
  }

  #nextPacketId(): number {
    do {
      this.#lastPacketId = this.#lastPacketId === 65_535 ? 1 : this.#lastPacketId + 1
    } while (this.#byPacketId.has(this.#lastPacketId) || this.#settled.has(this.#lastPacketId))
    return this.#lastPacketId
  }
}
