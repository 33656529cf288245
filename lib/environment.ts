// This JavaScript environment's end of the bell: drains batches and hands their records to the connections.
import type { PacketRecord } from '../index.js'
import {
  native,
  type NativeBatch,
  type NativeConnected,
  type NativeFailure,
  type NativeProperties,
} from './native.js'

/** What a connection's task reports. One method for each kind of record in src/outbox.rs. */
export interface Receiver {
  /** Topics that come again, by their place. */
  keptTopics: string[] | undefined
  /** `said` are the server's own words, here and below; empty where it has none. */
  published(token: number, packetId: number, reasonCode: number, said: string): void
  /** `filters` are the numbers of those that match; some given up since may be among them. */
  message(
    number: number,
    topic: string,
    payload: Buffer,
    qos: 0 | 1,
    retain: boolean,
    dup: boolean,
    properties: NativeProperties | undefined,
    filters: readonly number[],
  ): void
  subscribed(token: number, packetId: number, granted: number[], said: string): void
  unsubscribed(token: number, packetId: number, reasonCodes: number[], said: string): void
  refused(token: number, codes: number[], failure: NativeFailure): void
  failed(token: number, failure: NativeFailure): void
  withdrawn(token: number): void
  connected(connected: NativeConnected): void
  interrupted(failure: NativeFailure): void
  attempted(number: number, failure: NativeFailure | undefined, nextDelayMs: number | undefined): void
  credentials(attempt: number, last: NativeFailure | undefined): void
  credentialsExpired(attempt: number): void
  subscriptionLost(filterId: number, failure: NativeFailure): void
  closed(failure: NativeFailure | undefined, unsettled: number): void
  log(level: number, message: string): void
  traced(packet: PacketRecord): void
}

const enum Kind {
  Connection = 0,
  Published = 1,
  Message = 2,
  Subscribed = 3,
  Unsubscribed = 4,
  Refused = 5,
  Failed = 6,
  Withdrawn = 7,
  Connected = 8,
  Closed = 9,
  Log = 10,
  Interrupted = 11,
  Attempted = 12,
  Credentials = 13,
  CredentialsExpired = 14,
  SubscriptionLost = 15,
  Traced = 16,
  Topic = 17,
}

const enum Flag {
  Qos1 = 1 << 8,
  Retain = 1 << 9,
  Dup = 1 << 10,
  Large = 1 << 11,
  Properties = 1 << 13,
  Kept = 1 << 14,
}

/** What is handed over before other work of the process gets its turn. */
const TURN_EVENTS = 1_024
const TURN_BYTES = 1024 * 1024
/** Drains in one turn: what one of them hands over may be answered, and bring the next, before Node does anything else. */
const TURN_DRAINS = 8
/** The class that a Buffer is made of: `Buffer.from` checks anew what an arena is. */
const View = (
  Buffer as unknown as { [Symbol.species]: new (...of: [ArrayBuffer, number, number]) => Buffer }
)[Symbol.species]
const NO_FILTERS: readonly number[] = []
const NO_BYTES = Buffer.alloc(0)
const NO_VALUES: readonly unknown[] = []
/**
 * The words of a batch, those of the next one after it: how many there are, how many events and bytes, whether to drain
 * again (1) or to wait for the bell (0); then the records.
 */
const WORDS = new Uint32Array(4 * 1024)
const ROOM = Buffer.from(WORDS.buffer)
const HEADER = 4

const receivers = new Map<number, Receiver>()
let nextIndex = 0
/** Receivers that keep the process alive. */
let held = 0
let current: Cursor | undefined
/** The rest waits for the next turn of the event loop. */
let paused = false
/** What this turn has had. */
const turn = { events: 0, bytes: 0, drains: 0 }

export const environment = new native.Environment(onBell)

/** Gives a receiver its number. */
export function register(receiver: Receiver): number {
  const index = nextIndex++
  receivers.set(index, receiver)
  return index
}

export function unregister(index: number): void {
  receivers.delete(index)
}

/** Keeps the process alive until {@link release} is called as often. */
export function hold(): void {
  if (held++ === 0) environment.hold(true)
}

export function release(): void {
  if (--held === 0) environment.hold(false)
}

function onBell(): void {
  if (!paused) drain()
}

/** A bell that rings meanwhile, or in the midst of a drain, is answered without a turn of the event loop in between. */
function pause(): void {
  paused = true
  setImmediate(() => {
    paused = false
    turn.events = turn.bytes = turn.drains = 0
    drain()
  })
}

function drain(): void {
  for (;;) {
    const begun = current === undefined
    if (current === undefined) {
      if (turn.events >= TURN_EVENTS || turn.bytes >= TURN_BYTES) return pause()
      const batch = environment.drain(ROOM)
      if (batch === null) return rest()
      current = new Cursor(batch)
      turn.events += current.events
      turn.bytes += current.bytes
    }
    let interrupted = true
    try {
      interrupted = current.run()
    } finally {
      // Behind a message that could not be made the rest goes on.
      if (interrupted) pause()
    }
    if (interrupted) {
      // Whoever awaits what was just settled runs first, so that no message comes before its reader.
      return
    }
    // A bell that rang between two parts of a batch was not answered.
    const last = begun && current.last
    current = undefined
    if (last) return rest()
  }
}

/** Nothing is left: the bell will ring. */
function rest(): void {
  if (++turn.drains >= TURN_DRAINS) pause()
}

/** Reads the records of one batch. */
class Cursor {
  readonly #words: Uint32Array
  readonly #end: number
  readonly #arena: Buffer
  /** The arena's memory: asking a Buffer for it costs more than a view of it. */
  readonly #memory: ArrayBuffer
  readonly #offset: number
  readonly #values: readonly unknown[]
  #word = HEADER
  #byte = 0
  #value = 0
  #receiver: Receiver | undefined
  #single: readonly number[] = NO_FILTERS

  constructor({ words = WORDS, arena = NO_BYTES, values = NO_VALUES }: NativeBatch) {
    this.#words = words
    this.#end = words[0]
    this.#arena = arena
    this.#memory = arena.buffer as ArrayBuffer
    this.#offset = arena.byteOffset
    this.#values = values
  }

  get events(): number {
    return this.#words[1]
  }

  get bytes(): number {
    return this.#words[2]
  }

  /** Whether nothing was left behind this batch. */
  get last(): boolean {
    return this.#words[3] === 0
  }

  /** Hands over record after record. Stops behind one that somebody awaits before the next: gives true then. */
  run(): boolean {
    const words = this.#words
    let receiver = this.#receiver
    while (this.#word < this.#end) {
      const first = words[this.#word]
      switch (first & 0xff) {
        case Kind.Connection:
          receiver = this.#receiver = receivers.get(words[this.#word + 1])
          this.#word += 2
          break
        case Kind.Published: {
          const result = words[this.#word + 2]
          // Nearly always without words.
          const said = first >>> 16 === 0 ? '' : this.#text(first >>> 16)
          receiver?.published(words[this.#word + 1], result & 0xffff, result >>> 16, said)
          this.#word += 3
          break
        }
        case Kind.Message:
          this.#message(first, receiver)
          break
        case Kind.Topic: {
          const topic = this.#text(words[this.#word + 1])
          if (receiver !== undefined) (receiver.keptTopics ??= [])[first >>> 16] = topic
          this.#word += 2
          break
        }
        case Kind.Subscribed: {
          const codes = this.#codes(first >>> 16)
          const id = words[this.#word + 2]
          receiver?.subscribed(words[this.#word + 1], id & 0xffff, codes, this.#text(id >>> 16))
          this.#word += 3
          return true
        }
        case Kind.Unsubscribed: {
          const codes = this.#codes(first >>> 16)
          const id = words[this.#word + 2]
          receiver?.unsubscribed(words[this.#word + 1], id & 0xffff, codes, this.#text(id >>> 16))
          this.#word += 3
          break
        }
        case Kind.Refused: {
          const codes = this.#codes(first >>> 16)
          receiver?.refused(words[this.#word + 1], codes, this.#next<NativeFailure>())
          this.#word += 3
          break
        }
        case Kind.Failed:
          receiver?.failed(words[this.#word + 1], this.#next<NativeFailure>())
          this.#word += 2
          break
        case Kind.Withdrawn:
          receiver?.withdrawn(words[this.#word + 1])
          this.#word += 2
          break
        case Kind.Connected:
          receiver?.connected(this.#next<NativeConnected>())
          this.#word += 1
          return true
        case Kind.Closed: {
          const failure = words[this.#word + 2] === 1 ? this.#next<NativeFailure>() : undefined
          receiver?.closed(failure, words[this.#word + 1])
          this.#word += 3
          break
        }
        case Kind.Log:
          receiver?.log(words[this.#word + 1], this.#text(words[this.#word + 2]))
          this.#word += 3
          break
        case Kind.Traced: {
          const [id, bytes] = [words[this.#word + 1], words[this.#word + 2]]
          const direction = first >>> 16 === 1 ? 'sent' : 'received'
          const kind = this.#text((first >>> 8) & 0xff)
          receiver?.traced({ direction, kind, ...(id !== 0 && { id }), bytes })
          this.#word += 3
          break
        }
        case Kind.Interrupted:
          receiver?.interrupted(this.#next<NativeFailure>())
          this.#word += 1
          break
        case Kind.Attempted: {
          const next = words[this.#word + 3]
          const failure = this.#failure()
          receiver?.attempted(words[this.#word + 2], failure, next === 0 ? undefined : next - 1)
          this.#word += 4
          break
        }
        case Kind.Credentials:
          receiver?.credentials(words[this.#word + 2], this.#failure())
          this.#word += 3
          break
        case Kind.CredentialsExpired:
          receiver?.credentialsExpired(words[this.#word + 1])
          this.#word += 2
          break
        case Kind.SubscriptionLost:
          receiver?.subscriptionLost(words[this.#word + 1], this.#next<NativeFailure>())
          this.#word += 2
          break
      }
    }
    return false
  }

  #message(first: number, receiver: Receiver | undefined): void {
    const words = this.#words
    const at = this.#word
    const topic =
      first & Flag.Kept ? (receiver?.keptTopics?.[words[at + 2]] ?? '') : this.#text(words[at + 2])
    const count = first >>> 16
    this.#word = at + 4 + count
    const filters = count === 0 ? NO_FILTERS : this.#filters(at + 4, count)
    const large = first & Flag.Large ? this.#next<Buffer>() : undefined
    const properties = first & Flag.Properties ? this.#next<NativeProperties>() : undefined
    const payload = large ?? this.#payload(words[at + 3])
    receiver?.message(
      words[at + 1],
      topic,
      payload,
      first & Flag.Qos1 ? 1 : 0,
      (first & Flag.Retain) !== 0,
      (first & Flag.Dup) !== 0,
      properties,
      filters,
    )
  }

  /** An empty one has memory of its own, since the app may transfer what it gets. */
  #payload(size: number): Buffer {
    const from = this.#offset + this.#byte
    this.#byte += size
    return size === 0 ? Buffer.alloc(0) : new View(this.#memory, from, size)
  }

  /** Mostly the same one as before. */
  #filters(at: number, count: number): readonly number[] {
    const words = this.#words
    if (count > 1) return [...words.subarray(at, at + count)]
    if (words[at] !== this.#single[0]) this.#single = [words[at]]
    return this.#single
  }

  #codes(count: number): number[] {
    const codes = [...this.#arena.subarray(this.#byte, this.#byte + count)]
    this.#byte += count
    return codes
  }

  #text(bytes: number): string {
    const end = this.#byte + bytes
    const text = this.#arena.toString('utf8', this.#byte, end)
    this.#byte = end
    return text
  }

  /** Where a record may have a failure, its second word says so. */
  #failure(): NativeFailure | undefined {
    return this.#words[this.#word + 1] === 1 ? this.#next<NativeFailure>() : undefined
  }

  #next<T>(): T {
    return this.#values[this.#value++] as T
  }
}
