import type { Message, MessageHandler, QoS, Subscription } from '../index.js'
import { ReceivedMessage } from './message.js'

/** What a use of filters asks of its connection. */
export interface Owner {
  release(use: FilterUse): Promise<void>
  handle(handler: MessageHandler, message: ReceivedMessage): void
  /** How many messages may wait before the server has to. */
  readonly credit: number
  /** Messages pile up in a use that no loop reads. */
  unread(use: FilterUse): void
}

/** So many messages without a loop are no delay any more. IoT Core stops at 100 unacknowledged ones. */
const UNREAD = 100

/** One use of one or several filters: it hands messages to a handler, or keeps them for a loop. */
export class FilterUse implements Subscription {
  readonly filters: readonly string[]
  readonly #owner: Owner
  readonly #handler: MessageHandler | undefined
  readonly #queue = new MessageQueue()
  #granted: Subscription['granted'] = []
  #reasonString: string | undefined
  /** Whether a loop has begun. */
  #read = false
  #ended = false
  #released: Promise<void> | undefined

  constructor(owner: Owner, filters: readonly string[], handler: MessageHandler | undefined) {
    this.#owner = owner
    this.filters = filters
    this.#handler = handler
  }

  get granted(): Subscription['granted'] {
    return this.#granted
  }

  get reasonString(): string | undefined {
    return this.#reasonString
  }

  unsubscribe(): Promise<void> {
    this.#released ??= this.#owner.release(this)
    FilterUse.abandon(this)
    return this.#released
  }

  [Symbol.asyncIterator](): AsyncIterator<Message, undefined> {
    this.#read = true
    const reader: AsyncIterator<Message, undefined> = {
      next: () => this.#queue.next(reader),
      return: async () => {
        await this.unsubscribe()
        return { done: true, value: undefined }
      },
    }
    return reader
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.unsubscribe()
  }

  /**
   * `listened` says whether somebody else gets the message: then it waits for no loop that has not begun.
   * Gives whether the use is there for it.
   */
  static deliver(use: FilterUse, message: ReceivedMessage, listened: boolean): boolean {
    if (use.#ended) return false
    if (use.#handler !== undefined) {
      use.#owner.handle(use.#handler, message)
    } else if (use.#read || !listened) {
      const waiting = use.#queue.push(message)
      if (waiting === Math.min(UNREAD, use.#owner.credit) && !use.#read) use.#owner.unread(use)
    }
    return true
  }

  /** Whether a loop will see how the connection ended. */
  static isRead(use: FilterUse): boolean {
    return use.#read && !use.#ended
  }

  static hasEnded(use: FilterUse): boolean {
    return use.#ended
  }

  /** Whether messages go to a handler, which hears of no end. */
  static isHandled(use: FilterUse): boolean {
    return use.#handler !== undefined
  }

  static grant(use: FilterUse, codes: readonly number[], said: string): void {
    if (said !== '') use.#reasonString = said
    use.#granted = use.filters.map((filter, index) => ({ filter, qos: codes[index] as QoS }))
  }

  /** Nothing comes any more: what is there can still be read, then the loop ends, with the error if there is one. */
  static end(use: FilterUse, error: Error | undefined): void {
    use.#ended = true
    use.#queue.finish(error)
  }

  /** Nothing is wanted any more. */
  static abandon(use: FilterUse): void {
    use.#ended = true
    use.#queue.discard()
  }
}

/** One loop. */
type Reader = object

type Waiting = {
  reader: Reader
  resolve: (result: IteratorResult<Message, undefined>) => void
  reject: (error: Error) => void
}

/** Messages that wait for a loop, or a loop that waits for messages. */
class MessageQueue {
  #messages: ReceivedMessage[] = []
  #read = 0
  readonly #waiting: Waiting[] = []
  /** What each loop is busy with: consumed when it asks for the next. */
  readonly #busy = new Map<Reader, ReceivedMessage>()
  #finished = false
  #error: Error | undefined

  /** Gives how many wait. */
  push(message: ReceivedMessage): number {
    ReceivedMessage.retain(message)
    const waiting = this.#waiting.shift()
    if (waiting === undefined) {
      this.#messages.push(message)
    } else {
      this.#hand(message, waiting.reader)
      waiting.resolve({ done: false, value: message })
    }
    return this.#messages.length - this.#read
  }

  next(reader: Reader): Promise<IteratorResult<Message, undefined>> {
    this.#consume(reader)
    if (this.#read < this.#messages.length) {
      const message = this.#messages[this.#read++]
      // Half of it read: what is left is copied less often than it was filled.
      if (this.#read * 2 >= this.#messages.length) {
        this.#messages = this.#messages.slice(this.#read)
        this.#read = 0
      }
      this.#hand(message, reader)
      return Promise.resolve({ done: false, value: message })
    }
    if (!this.#finished) {
      return new Promise((resolve, reject) => this.#waiting.push({ reader, resolve, reject }))
    }
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
  discard(): void {
    this.finish(undefined)
    for (const reader of this.#busy.keys()) this.#consume(reader)
    for (const message of this.#messages.slice(this.#read)) ReceivedMessage.drop(message)
    this.#messages = []
    this.#read = 0
  }

  /** A loop that asked several times at once is busy with the last that it got. */
  #hand(message: ReceivedMessage, reader: Reader): void {
    this.#consume(reader)
    this.#busy.set(reader, message)
  }

  #consume(reader: Reader): void {
    const message = this.#busy.get(reader)
    if (message === undefined) return
    this.#busy.delete(reader)
    ReceivedMessage.release(message)
  }
}
