// The operations of one connection, and the way of its messages to whoever wants them.
import { inspect } from 'node:util'
import type {
  AttemptReport,
  CloseReason,
  ConnectOptions,
  LogLevel,
  LogRecord,
  MessageHandler,
  PacketRecord,
  PublishOptions,
  PublishResult,
  QoS,
} from '../index.js'
import { now } from './clock.js'
import { Credit } from './credit.js'
import type { CredentialsSource } from './credentials.js'
import { environment, hold, register, release, unregister, type Receiver } from './environment.js'
import { MqttError, closed } from './errors.js'
import { Filters } from './filters.js'
import { sharedInbox, type KeptTopics, type Sender } from './inbox.js'
import { ReceivedMessage, type Consumer } from './message.js'
import {
  native,
  type NativeConnected,
  type NativeConnection,
  type NativeFailure,
  type NativeOptions,
  type NativeProperties,
} from './native.js'
import { nativeProperties } from './properties.js'
import { onAbort } from './signals.js'
import { Slots } from './slots.js'
import { FilterUse, type Owner } from './subscription.js'

/** What a connection is told by its channel. One for all of them: closures would cost each half a kilobyte. */
export interface Face<C> {
  connected(connection: C, connected: NativeConnected): void
  interrupted(connection: C, error: MqttError): void
  attempted(connection: C, attempt: AttemptReport): void
  /** `told` says whether somebody has learnt of an error otherwise: by an operation, or in a loop. */
  closed(connection: C, reason: CloseReason, told: boolean): void
  /** Whether anyone listens for every message. */
  listens(connection: C): boolean
  message(connection: C, message: ReceivedMessage): void
  log(connection: C, record: LogRecord): void
}

export interface ChannelOptions {
  manualAck: boolean
  logLevel: LogLevel
  onMessage: MessageHandler | undefined
  credentials: ConnectOptions['credentials']
  /** So much credit goes back at once at the latest. */
  creditBatch: number
  /** `receive.maxMessages` */
  credit: number
}

/** What an acknowledged operation resolves with. */
export interface Acknowledged {
  packetId: number
  codes: number[]
  said: string
}

const NO_OPTIONS: PublishOptions = {}
/** How long after CONNACK a message that nobody wants waits for somebody: a resumed session delivers at once. */
const CLAIM_MS = 5_000
/** Failures of a subscribe that leave nothing at the server. */
const UNASKED: ReadonlySet<unknown> = new Set(['ERR_LIMIT', 'ERR_SUSPECTED_POLICY'])
const LEVELS = ['error', 'warn', 'info', 'debug', 'trace'] as const

export class Channel<C> implements Receiver, Owner, Sender, Consumer {
  readonly #face: Face<C>
  readonly #connection: C
  readonly #options: ChannelOptions
  readonly native: NativeConnection
  #topics: KeptTopics | undefined
  readonly #index: number
  readonly #credentials: CredentialsSource | undefined
  keptTopics: string[] | undefined
  /** Made with the first operation. */
  #slots: Slots | undefined
  readonly #filters = new Filters()
  /** Made with the first message. */
  #credits: Credit | undefined
  /** With `manualAck`: what is not consumed yet, by its number. */
  #unacknowledged: Map<number, ReceivedMessage> | undefined
  #flushing = false
  /** Until when a message that nobody wants waits for somebody. */
  #claimableUntil: number | undefined
  /** What waits for that, and the end of it; made with the first such message. */
  #unclaimed: ReceivedMessage[] | undefined
  #claimTimer: NodeJS.Timeout | undefined
  #dropped = 0
  #referenced = true
  #open = true
  /** Whether there is a connection at the moment. */
  #online = false
  /** Those who wait for an UNSUBACK that a lost connection does not bring. */
  #leavers: Set<() => void> | undefined
  #ending = false

  /** Starts to connect. Throws an MqttError where an option cannot work. */
  constructor(face: Face<C>, connection: C, options: ChannelOptions, connect: NativeOptions) {
    this.#face = face
    this.#connection = connection
    this.#options = options
    if (options.credentials !== undefined) {
      const { CredentialsSource: Source } = require('./credentials.js') as typeof import('./credentials.js')
      this.#credentials = new Source(options.credentials)
    }
    this.#index = register(this)
    const begun = native.connectWithCustomAuthorizer(environment, this.#index, connect)
    if ('code' in begun) {
      unregister(this.#index)
      throw new MqttError(begun)
    }
    this.native = begun
    hold()
  }

  get clientId(): string {
    return this.native.clientId
  }

  get credit(): number {
    return this.#options.credit
  }

  get dropped(): number {
    return this.#dropped
  }

  /** Made when the first message is published. */
  get topics(): KeptTopics {
    return (this.#topics ??= new Map())
  }

  publish(
    topic: string,
    payload: string | Uint8Array,
    qos: number,
    retain: boolean,
    options: PublishOptions | undefined,
  ): Promise<PublishResult> {
    const { signal, properties, expiresInMs } = options ?? NO_OPTIONS
    if (properties !== undefined || expiresInMs !== undefined) {
      const said = nativeProperties(properties, 'properties')
      return this.#operation(signal, (token) =>
        this.#ordered().publishWith(token, topic, bytesOf(payload), qos, retain, said, expiresInMs),
      )
    }
    if (signal !== undefined) {
      return this.#operation(signal, (token) => this.#publish(token, topic, payload, qos, retain))
    }
    // As `#operation` does it, with one closure less: nearly every message goes this way.
    return new Promise((resolve, reject) => {
      const token = this.#enter(resolve, reject)
      if (token !== undefined) this.#begun(token, this.#publish(token, topic, payload, qos, retain))
    })
  }

  refuse(token: number, failure: NativeFailure): void {
    this.#slots?.reject(token, this.#error(failure))
  }

  /** Resolves once every filter is granted. The use exists, and messages reach it, from this call on. */
  async subscribe(
    filters: readonly string[],
    qos: number,
    handler: MessageHandler | undefined,
    signal: AbortSignal | undefined,
  ): Promise<{ use: FilterUse; packetId: number }> {
    signal?.throwIfAborted()
    const use = new FilterUse(this, filters, handler)
    const entries = filters.map((filter) => this.#filters.enter(filter))
    const ids = Uint32Array.from(entries, (entry) => entry.id)
    const highest = Uint8Array.from(entries, (entry) => Math.max(qos, entry.qos))
    let accepted = false
    try {
      const granting = this.#operation<Acknowledged>(signal, (token) => {
        const failure = this.#ordered().subscribe(token, [...filters], ids, highest)
        accepted = failure === null
        return failure
      })
      if (accepted) {
        for (const [index, entry] of entries.entries()) {
          this.#filters.attach(use, entry)
          entry.qos = highest[index]
        }
        this.#claim()
      }
      const { packetId, codes, said } = await granting
      FilterUse.grant(use, codes, said)
      return { use, packetId }
    } catch (error) {
      const refusal = error instanceof Refusal ? error : undefined
      // Without an answer the server may have granted them all, or be about to: unless it was never asked.
      const refused = new Set(
        filters.filter((_, index) => refusal !== undefined && refusal.codes[index] >= 0x80),
      )
      const unused = this.#filters.detach(use, filters).filter((filter) => !refused.has(filter))
      const asked = accepted && !UNASKED.has((error as { code?: unknown }).code)
      if (asked && this.#open && unused.length > 0) void this.#unsubscribe(unused).catch(ignore)
      FilterUse.abandon(use)
      throw refusal?.error ?? error
    }
  }

  /** Ends one use. */
  async release(use: FilterUse): Promise<void> {
    await this.#leave(use, use.filters)
  }

  /** Ends every use of these filters. */
  async unsubscribe(filters: readonly string[], signal: AbortSignal | undefined): Promise<Acknowledged> {
    signal?.throwIfAborted()
    for (const filter of filters) {
      for (const use of this.#filters.usesOf(filter)) {
        this.#filters.detach(use, [filter])
        if (this.#filters.of(use).length === 0) FilterUse.end(use, undefined)
      }
    }
    return await this.#unsubscribe(filters, signal)
  }

  /** From here on nothing is accepted. What the app has consumed up to now, by this very handler too, is acknowledged. */
  disconnect(timeoutMs: number): void {
    this.#ending = true
    queueMicrotask(() => {
      this.#flush()
      this.native.disconnect(timeoutMs)
    })
  }

  /** Whether the connection keeps the process alive. */
  reference(referenced: boolean): void {
    if (!this.#open || referenced === this.#referenced) return
    this.#referenced = referenced
    if (referenced) hold()
    else release()
  }

  /** Somebody may want now what nobody wanted before. */
  claim(): void {
    this.#claim()
  }

  handle(handler: MessageHandler, message: ReceivedMessage): void {
    try {
      const handled = handler(message)
      if (typeof handled?.then !== 'function') return
      ReceivedMessage.retain(message)
      void Promise.resolve(handled)
        .catch((error: unknown) => this.#handlerFailed(error))
        .finally(() => ReceivedMessage.release(message))
    } catch (error) {
      this.#handlerFailed(error)
    }
  }

  unread(use: FilterUse): void {
    const filters = use.filters.map((filter) => JSON.stringify(filter)).join(', ')
    this.#warn(
      `nobody reads the messages of the subscription to ${filters}, and they are not acknowledged meanwhile: ` +
        'give subscribe a handler, or loop over what it resolves with',
      'UnreadSubscriptionWarning',
    )
  }

  published(token: number, packetId: number, reasonCode: number, said: string): void {
    const result = { packetId, reasonCode }
    this.#slots?.resolve(token, said === '' ? result : { ...result, reasonString: said })
  }

  subscribed(token: number, packetId: number, codes: number[], said: string): void {
    this.#slots?.resolve(token, { packetId, codes, said })
  }

  unsubscribed(token: number, packetId: number, codes: number[], said: string): void {
    this.#slots?.resolve(token, { packetId, codes, said })
  }

  refused(token: number, codes: number[], failure: NativeFailure): void {
    this.#slots?.reject(token, new Refusal(codes, this.#error(failure)))
  }

  failed(token: number, failure: NativeFailure): void {
    this.#slots?.reject(token, this.#error(failure))
  }

  withdrawn(token: number): void {
    this.#slots?.reject(token, undefined)
  }

  message(
    number: number,
    topic: string,
    payload: Buffer,
    qos: QoS,
    retain: boolean,
    dup: boolean,
    properties: NativeProperties | undefined,
    filters: readonly number[],
  ): void {
    const { manualAck } = this.#options
    const credit = (this.#credits ??= new Credit(this, this.#options.creditBatch))
    const consumer = manualAck ? this : credit
    const message = new ReceivedMessage(
      consumer,
      manualAck,
      number,
      topic,
      payload,
      qos,
      retain,
      dup,
      properties,
    )
    if (manualAck) (this.#unacknowledged ??= new Map()).set(number, message)
    const uses = filters.length > 0 ? this.#filters.usesOfIds(filters) : this.#usesMatching(message.topic)
    const listened = this.#isListened()
    let taken = listened
    credit.delivering = true
    for (const use of uses) taken = FilterUse.deliver(use, message, listened) || taken
    if (listened) this.#offer(message)
    if (taken) ReceivedMessage.release(message)
    // With a filter of its own it was wanted, and the use has ended since.
    else if (filters.length > 0 || uses.length > 0) ReceivedMessage.drop(message)
    else this.#keepUnclaimed(message)
    credit.delivering = false
  }

  /** With `manualAck`. */
  consumed(number: number): void {
    this.#unacknowledged?.delete(number)
    this.#credits?.consumed(number)
  }

  connected(connected: NativeConnected): void {
    // Also where a renewal has replaced one connection by another.
    this.#forgo()
    this.#online = true
    this.#claimableUntil ??= now() + CLAIM_MS
    this.#face.connected(this.#connection, connected)
  }

  interrupted(failure: NativeFailure): void {
    this.#online = false
    this.#forgo()
    for (const leave of this.#leavers ?? []) leave()
    this.#face.interrupted(this.#connection, this.#error(failure))
  }

  attempted(number: number, failure: NativeFailure | undefined, nextDelayMs: number | undefined): void {
    this.#face.attempted(this.#connection, {
      number,
      ...(failure !== undefined && { error: this.#error(failure) }),
      ...(nextDelayMs !== undefined && { nextDelayMs }),
    })
  }

  credentials(attempt: number, last: NativeFailure | undefined): void {
    const lastError = last && this.#error(last)
    void this.#credentials?.ask(this.native, attempt, lastError)
  }

  credentialsExpired(): void {
    this.#credentials?.expire()
  }

  /** The server does not take a filter again. Loops throw why; of handlers nobody else would hear. */
  subscriptionLost(filterId: number, failure: NativeFailure): void {
    const entry = this.#filters.get(filterId)
    if (entry === undefined) return
    const error = this.#error(failure)
    for (const use of this.#filters.usesOf(entry.filter)) {
      this.#filters.detach(use, [entry.filter])
      const rest = this.#filters.of(use)
      if (!FilterUse.isHandled(use) || rest.length === 0) {
        FilterUse.end(use, error)
        void this.#leave(use, rest).catch(ignore)
      }
      if (FilterUse.isHandled(use)) {
        this.#warn(
          `the subscription to ${JSON.stringify(entry.filter)} has ended: ${error.code}: ${error.message}`,
          'SubscriptionLostWarning',
        )
      }
    }
  }

  closed(failure: NativeFailure | undefined, unsettled: number): void {
    const error = failure && this.#error(failure)
    this.#credentials?.expire()
    const uses = this.#filters.usesWhere(() => true)
    const told = unsettled > 0 || uses.some(FilterUse.isRead)
    this.#open = false
    this.#online = false
    clearTimeout(this.#claimTimer)
    unregister(this.#index)
    if (this.#referenced) release()
    // What was accepted while the task was ending: it has had no outcome.
    this.#slots?.rejectAll(() => error ?? closed())
    for (const use of uses) FilterUse.end(use, error)
    this.#filters.clear()
    const reason = error === undefined ? { unsettled } : { error, unsettled }
    this.#face.closed(this.#connection, reason, told)
  }

  traced(packet: PacketRecord): void {
    const { direction, kind, id, bytes } = packet
    this.#record(
      'trace',
      `${direction} ${kind}${id === undefined ? '' : ` with id ${id}`}, ${bytes} bytes`,
      packet,
    )
  }

  /** What comes from there is for the log: a warning about the options whatever the level is. */
  log(level: number, message: string): void {
    this.#record(LEVELS[level], message)
  }

  #operation<T>(signal: AbortSignal | undefined, begin: (token: number) => NativeFailure | null): Promise<T> {
    if (signal === undefined) {
      return new Promise((resolve, reject) => {
        this.#begin(resolve, reject, begin)
      })
    }
    if (signal.aborted) return Promise.reject(signal.reason)
    return new Promise<T>((resolve, reject) => {
      // The outcome of what was aborted comes to a promise that is settled already.
      const abort = () => {
        if (token !== undefined) this.#ordered().withdraw(token)
        reject(signal.reason)
      }
      const token = this.#begin<T>(
        (value) => {
          signal.removeEventListener('abort', abort)
          resolve(value)
        },
        (error) => {
          signal.removeEventListener('abort', abort)
          reject(error)
        },
        begin,
      )
      if (token !== undefined) onAbort(signal, abort)
    })
  }

  /** With what `credentials` threw as the cause, where that is what failed. */
  #error(failure: NativeFailure): MqttError {
    const thrown = failure.code === 'ERR_CREDENTIALS' ? this.#credentials?.thrown : undefined
    return new MqttError(failure, thrown)
  }

  #begin<T>(
    resolve: (value: T) => void,
    reject: (error: unknown) => void,
    begin: (token: number) => NativeFailure | null,
  ): number | undefined {
    const token = this.#enter(resolve, reject)
    return token === undefined ? undefined : this.#begun(token, begin(token))
  }

  #enter<T>(resolve: (value: T) => void, reject: (error: unknown) => void): number | undefined {
    if (this.#open && !this.#ending) return (this.#slots ??= new Slots()).open(resolve, reject)
    reject(closed())
    return undefined
  }

  #begun(token: number, failure: NativeFailure | null): number | undefined {
    if (failure !== null) {
      this.#slots?.reject(token, this.#error(failure))
      return undefined
    }
    this.flushSoon()
    return token
  }

  #publish(
    token: number,
    topic: string,
    payload: string | Uint8Array,
    qos: number,
    retain: boolean,
  ): NativeFailure | null {
    if (sharedInbox().publish(this, token, topic, payload, qos, retain)) return null
    return this.#ordered().publish(token, topic, bytesOf(payload), qos, retain)
  }

  /** What is asked for in one turn of the event loop leaves together. */
  flushSoon(): void {
    if (this.#flushing) return
    this.#flushing = true
    queueMicrotask(() => this.#flush())
  }

  #flush(): void {
    this.#flushing = false
    this.#credits?.hand()
    this.#ordered().flush()
  }

  /** What is called there comes after everything that was published. */
  #ordered(): NativeConnection {
    if (this.#topics !== undefined) sharedInbox().flush(this)
    return this.native
  }

  async #leave(use: FilterUse, filters: readonly string[]): Promise<void> {
    const unused = this.#filters.detach(use, filters)
    if (unused.length === 0 || !this.#open) return
    const told = this.#unsubscribe(unused)
    try {
      await this.#whileOnline(told)
    } catch (error) {
      // With the connection the subscription has ended too.
      if (this.#open && (error as MqttError).code !== 'ERR_CLOSED') throw error
    }
  }

  /** Without a connection the server hears of it later, and nobody has to wait for that to leave a loop. */
  async #whileOnline(told: Promise<unknown>): Promise<void> {
    if (!this.#online) return void told.catch(ignore)
    let leave: (() => void) | undefined
    const interrupted = new Promise<void>((resolve) => (leave = resolve))
    const leavers = (this.#leavers ??= new Set())
    leavers.add(leave!)
    try {
      await Promise.race([told, interrupted])
    } finally {
      leavers.delete(leave!)
      told.catch(ignore)
    }
  }

  #unsubscribe(filters: readonly string[], signal?: AbortSignal): Promise<Acknowledged> {
    return this.#operation(signal, (token) => this.#ordered().unsubscribe(token, [...filters]))
  }

  /** What came over a connection that is gone cannot be acknowledged any more: it holds no credit for that. */
  #forgo(): void {
    for (const message of this.#unacknowledged?.values() ?? []) message.ack()
  }

  /** The uses for a message of which the connection's task knew none: their filters may be on their way to it. */
  #usesMatching(topic: string): readonly FilterUse[] {
    return this.#filters.usesWhere((filter) => this.native.matches(filter, topic))
  }

  /** Whether somebody wants all messages. */
  #isListened(): boolean {
    return this.#options.onMessage !== undefined || this.#face.listens(this.#connection)
  }

  /** Offers a message to those who want all. */
  #offer(message: ReceivedMessage): void {
    const { onMessage } = this.#options
    if (onMessage !== undefined) this.handle(onMessage, message)
    this.#face.message(this.#connection, message)
  }

  #keepUnclaimed(message: ReceivedMessage): void {
    const leftMs = (this.#claimableUntil ?? 0) - now()
    if (leftMs <= 0) return this.#drop(message)
    this.#claimTimer ??= setTimeout(() => this.#dropUnclaimed(), leftMs).unref()
    ;(this.#unclaimed ??= []).push(message)
  }

  #claim(): void {
    if (this.#unclaimed === undefined || this.#unclaimed.length === 0) return
    const unclaimed = this.#unclaimed
    this.#unclaimed = []
    for (const message of unclaimed) {
      const listened = this.#isListened()
      let taken = listened
      for (const use of this.#usesMatching(message.topic)) {
        taken = FilterUse.deliver(use, message, listened) || taken
      }
      if (listened) this.#offer(message)
      if (taken) ReceivedMessage.release(message)
      else this.#unclaimed.push(message)
    }
  }

  #dropUnclaimed(): void {
    const unclaimed = this.#unclaimed
    this.#unclaimed = undefined
    this.#claimableUntil = 0 // The timer's clock is another one.
    for (const message of unclaimed ?? []) this.#drop(message)
  }

  #drop(message: ReceivedMessage): void {
    if (this.#dropped++ === 0) {
      this.#log(
        'warn',
        `a message on topic ${JSON.stringify(message.topic)} was dropped: nobody listens for it`,
      )
    }
    ReceivedMessage.drop(message)
  }

  #handlerFailed(error: unknown): void {
    this.#warn(`a message handler failed: ${inspect(error)}`, 'MessageHandlerWarning')
  }

  /** Something of the app's is wrong: without a log that would hear of it, the process is warned. */
  #warn(message: string, name: string): void {
    if (!this.#log('error', message)) process.emitWarning(message, name)
  }

  #log(level: LogRecord['level'], message: string): boolean {
    const { logLevel } = this.#options
    if (logLevel === 'none' || LEVELS.indexOf(level) > LEVELS.indexOf(logLevel)) return false
    this.#record(level, message)
    return true
  }

  #record(level: LogRecord['level'], message: string, packet?: PacketRecord): void {
    const { clientId } = this
    const record = { level, message, time: Date.now(), clientId, ...(packet !== undefined && { packet }) }
    this.#face.log(this.#connection, record)
  }
}

/** A SUBACK with at least one refusal: carries the codes to where the granted filters are given back. */
class Refusal extends Error {
  constructor(
    readonly codes: number[],
    readonly error: MqttError,
  ) {
    super(error.message)
  }
}

function ignore(): void {}

function bytesOf(payload: string | Uint8Array): Uint8Array {
  return typeof payload === 'string' ? Buffer.from(payload) : payload
}
