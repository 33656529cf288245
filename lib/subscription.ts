import type { Message, MessageHandler, QoS, Subscription } from '../index.js'
import { ReceivedMessage } from './message.js'

/** What a use of filters asks of its connection. */
export interface Owner {
  release(use: FilterUse): Promise<void>
  handle(handler: MessageHandler, message: ReceivedMessage): void
}

/** One use of one or several filters: it hands messages to a handler, or keeps them for a loop. */
export class FilterUse implements Subscription {
  readonly filters: readonly string[]
  readonly #owner: Owner
  readonly #handler: MessageHandler | undefined
  readonly #queue = new MessageQueue()
  #granted: Subscription['granted'] = []
  #released: Promise<void> | undefined

  constructor(owner: Owner, filters: readonly string[], handler: MessageHandler | undefined) {
    this.#owner = owner
    this.filters = filters
    this.#handler = handler
  }

  get granted(): Subscription['granted'] {
    return this.#granted
  }

  unsubscribe(): Promise<void> {
    this.#released ??= this.#owner.release(this)
    this.#queue.end(undefined)
    return this.#released
  }

  [Symbol.asyncIterator](): AsyncIterator<Message, undefined> {
    return {
      next: () => this.#queue.next(),
      return: async () => {
        await this.unsubscribe()
        return { done: true, value: undefined }
      },
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.unsubscribe()
  }

  static deliver(use: FilterUse, message: ReceivedMessage): void {
    if (use.#handler === undefined) use.#queue.push(message)
    else use.#owner.handle(use.#handler, message)
  }

  static grant(use: FilterUse, codes: readonly number[]): void {
    use.#granted = use.filters.map((filter, index) => ({ filter, qos: codes[index] as QoS }))
  }

  /** The connection has ended: what is there can still be read, then the loop ends, with the error if there is one. */
  static end(use: FilterUse, error: Error | undefined): void {
    use.#queue.finish(error)
  }
}

type Waiting = {
  resolve: (result: IteratorResult<Message, undefined>) => void
  reject: (error: Error) => void
}

/** Messages that wait for a loop, or a loop that waits for messages. */
class MessageQueue {
  #messages: ReceivedMessage[] = []
  #read = 0
  readonly #waiting: Waiting[] = []
  /** What the loop is busy with: consumed when it asks for the next. */
  #current: ReceivedMessage | undefined
  #finished = false
  #error: Error | undefined

  push(message: ReceivedMessage): void {
    if (this.#finished) return
    ReceivedMessage.retain(message)
    const waiting = this.#waiting.shift()
    if (waiting === undefined) {
      this.#messages.push(message)
    } else {
      this.#current = message
      waiting.resolve({ done: false, value: message })
    }
  }

  next(): Promise<IteratorResult<Message, undefined>> {
    this.#consumeCurrent()
    if (this.#read < this.#messages.length) {
      const message = this.#messages[this.#read++]
      // Half of it read: what is left is copied less often than it was filled.
      if (this.#read * 2 >= this.#messages.length) {
        this.#messages = this.#messages.slice(this.#read)
        this.#read = 0
      }
      this.#current = message
      return Promise.resolve({ done: false, value: message })
    }
    if (!this.#finished) return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
    const error = this.#error
    this.#error = undefined
    return error === undefined ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(error)
  }

  /** Nothing comes any more; what is there stays. */
  finish(error: Error | undefined): void {
    if (this.#finished) return
    this.#finished = true
    const [first, ...others] = this.#waiting.splice(0)
    if (first === undefined) this.#error = error
    else if (error === undefined) first.resolve({ done: true, value: undefined })
    else first.reject(error)
    for (const waiting of others) waiting.resolve({ done: true, value: undefined })
  }

  /** Nothing comes any more, and what is there is not wanted. */
  end(error: Error | undefined): void {
    this.finish(error)
    this.#consumeCurrent()
    for (const message of this.#messages.slice(this.#read)) ReceivedMessage.release(message)
    this.#messages = []
    this.#read = 0
  }

  #consumeCurrent(): void {
    const message = this.#current
    this.#current = undefined
    if (message !== undefined) ReceivedMessage.release(message)
  }
}
