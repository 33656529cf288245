import type { Message, MessageProperties, QoS } from '../index.js'
import { messageProperties } from './properties.js'
import type { NativeProperties } from './native.js'

/** Who hears that a message is consumed: that every reader is done and, with `manualAck`, `ack()` was called. */
export interface Consumer {
  consumed(number: number): void
}

/** A message on its way through the app, and how many of its readers are not done with it. */
export class ReceivedMessage implements Message {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  readonly dup: boolean
  declare readonly properties?: MessageProperties
  readonly #number: number
  readonly #consumer: Consumer
  #readers = 1
  #ack: boolean

  constructor(
    consumer: Consumer,
    manualAck: boolean,
    number: number,
    topic: string,
    payload: Buffer,
    qos: QoS,
    retain: boolean,
    dup: boolean,
    properties: NativeProperties | undefined,
  ) {
    this.topic = topic
    this.payload = payload
    this.qos = qos
    this.retain = retain
    this.dup = dup
    if (properties !== undefined) this.properties = messageProperties(properties)
    this.#number = number
    this.#consumer = consumer
    this.#ack = !(manualAck && qos === 1)
  }

  ack(): void {
    if (this.#ack) return
    this.#ack = true
    if (this.#readers === 0) this.#consumer.consumed(this.#number)
  }

  /** Somebody is going to be done with it later. */
  static retain(message: ReceivedMessage): void {
    message.#readers++
  }

  /** One reader is done; the one that every message begins with is whoever hands it out. */
  static release(message: ReceivedMessage): void {
    if (--message.#readers === 0 && message.#ack) message.#consumer.consumed(message.#number)
  }

  /** Lets go of it on behalf of an app that will never see it: nobody else could acknowledge it. */
  static drop(message: ReceivedMessage): void {
    message.ack()
    ReceivedMessage.release(message)
  }
}
