import type { Message } from './message'

/** A message on its way to one session. */
export interface Delivery {
  message: Message
  qos: 0 | 1
  retain: boolean
  /** Sent on this connection before, and not acknowledged. */
  redelivery?: true
}

/** Deliveries that wait, oldest first, and what they cost. */
export class DeliveryQueue {
  #deliveries: Delivery[]
  #head = 0
  #bytes: number

  constructor(deliveries: Delivery[] = []) {
    this.#deliveries = deliveries
    this.#bytes = deliveries.reduce((sum, { message }) => sum + message.bytes, 0)
  }

  get length(): number {
    return this.#deliveries.length - this.#head
  }

  get bytes(): number {
    return this.#bytes
  }

  push(delivery: Delivery): void {
    this.#deliveries.push(delivery)
    this.#bytes += delivery.message.bytes
  }

  shift(): Delivery | undefined {
    const delivery = this.#deliveries[this.#head]
    if (delivery === undefined) return undefined
    this.#head++
    this.#bytes -= delivery.message.bytes
    if (this.#head > 1024 && this.#head * 2 > this.#deliveries.length) {
      this.#deliveries = this.#deliveries.slice(this.#head)
      this.#head = 0
    }
    return delivery
  }

  toArray(): Delivery[] {
    return this.#deliveries.slice(this.#head)
  }
}
