// Publishes on their way to the addon: those of one turn of the microtasks cross the boundary together.
import type { NativeConnection, NativeFailure } from './native.js'

/** Whose publishes they are. */
export interface Sender {
  readonly native: NativeConnection
  readonly topics: KeptTopics
  refuse(token: number, failure: NativeFailure): void
}

/** Topics that the addon knows by their place, those that came first: nearly all devices have a few. */
export type KeptTopics = Map<string, number>

/** The words of a record, and the flags in the second of them, are described in src/inbox.rs. */
const WORDS = 4
const enum Flag {
  Qos1 = 1,
  Retain = 1 << 1,
  Kept = 1 << 2,
  Keep = 1 << 3,
}
const PLACES = 32
const RECORDS = 256
const BYTES = 64 * 1024
/** A payload beyond this is not worth copying twice. */
const LARGEST_PAYLOAD = 4 * 1024
/** Beyond this, no topic of IoT Core; in UTF-16. */
const LONGEST_TOPIC = 1_024
/** UTF-8 takes no more for a unit of UTF-16. */
const UTF8 = 3

/** One for all connections of an environment: whoever publishes next sends what another one has left. */
class Inbox {
  readonly #words = new Uint32Array(RECORDS * WORDS)
  readonly #bytes = Buffer.allocUnsafeSlow(BYTES)
  #word = 0
  #byte = 0
  #sender: Sender | undefined

  /** Takes a message, copied. Gives false where it is not one of those that this is for. */
  publish(
    sender: Sender,
    token: number,
    topic: string,
    payload: string | Uint8Array,
    qos: number,
    retain: boolean,
  ): boolean {
    const text = typeof payload === 'string'
    const most = text ? payload.length * UTF8 : payload.length
    if (most > LARGEST_PAYLOAD || topic.length > LONGEST_TOPIC || (qos !== 0 && qos !== 1)) return false
    const full = this.#word === this.#words.length || this.#byte + topic.length * UTF8 + most > BYTES
    if (sender !== this.#sender || full) {
      this.flush()
      this.#sender = sender
    }
    const bytes = this.#bytes
    let flags = qos | (retain ? Flag.Retain : 0)
    let at = this.#byte
    const place = sender.topics.get(topic)
    if (place === undefined) {
      if (sender.topics.size < PLACES) flags |= Flag.Keep | (sender.topics.size << 8)
      at += bytes.write(topic, at)
    } else {
      flags |= Flag.Kept | (place << 8)
    }
    const topicBytes = at - this.#byte
    if (text) {
      at += bytes.write(payload, at)
    } else if (most > 0) {
      bytes.set(payload, at)
      at += payload.length
    }
    const words = this.#words
    const word = this.#word
    words[word] = token
    words[word + 1] = flags
    words[word + 2] = topicBytes
    words[word + 3] = at - this.#byte - topicBytes
    this.#word = word + WORDS
    this.#byte = at
    // Only what the addon is going to read counts as kept there.
    if (flags & Flag.Keep) sender.topics.set(topic, sender.topics.size)
    return true
  }

  /** Hands over what is there, of this sender alone where one is given. */
  flush(sender = this.#sender): void {
    if (sender === undefined || sender !== this.#sender) return
    const word = this.#word
    this.#word = 0
    this.#byte = 0
    // Nobody is held beyond that.
    this.#sender = undefined
    const refusals = sender.native.publishBatch(this.#words, word, this.#bytes)
    for (const { token, failure } of refusals ?? []) sender.refuse(token, failure)
  }
}

let inbox: Inbox | undefined

/** The one, made when the first message is published. */
export function sharedInbox(): Inbox {
  return (inbox ??= new Inbox())
}
