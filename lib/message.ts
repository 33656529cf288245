import type { Message, MessageProperties, QoS } from '../index.js'
import type { Arrival } from './environment.js'
import { messageProperties } from './properties.js'

/** A message on its way through the app, and how many of its readers are not done with it. */
export class ReceivedMessage implements Message {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  readonly dup: boolean
  declare readonly properties?: MessageProperties
  readonly #number: number
  readonly #consumed: (number: number) => void
  #readers = 1
  #ack: boolean

  /** `consumed` is called once, when every reader is done and, with `manualAck`, `ack()` was called. */
  constructor(arrival: Arrival, manualAck: boolean, consumed: (number: number) => void) {
    this.topic = arrival.topic
    this.payload = arrival.payload
    this.qos = arrival.qos
    this.retain = arrival.retain
    this.dup = arrival.dup
    if (arrival.properties !== undefined) this.properties = messageProperties(arrival.properties)
    this.#number = arrival.number
    this.#consumed = consumed
    this.#ack = !(manualAck && arrival.qos === 1)
  }

  ack(): void {
    if (this.#ack) return
    this.#ack = true
    if (this.#readers === 0) this.#consumed(this.#number)
  }

  /** Somebody is going to be done with it later. */
  static retain(message: ReceivedMessage): void {
    message.#readers++
  }

  /** One reader is done; the one that every message begins with is whoever hands it out. */
  static release(message: ReceivedMessage): void {
    if (--message.#readers === 0 && message.#ack) message.#consumed(message.#number)
  }

  /** Lets go of it on behalf of an app that will never see it: nobody else could acknowledge it. */
  static drop(message: ReceivedMessage): void {
    message.ack()
    ReceivedMessage.release(message)
  }
}
