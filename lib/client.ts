import type { KeyObject } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { inspect } from 'node:util'
import type * as api from '../index.js'
import { Channel, type Face } from './channel.js'
import { now } from './clock.js'
import { publishDiagnostics } from './diagnostics.js'
import { MqttError, invalidOption } from './errors.js'
import { isolated } from './isolated.js'
import { native, type NativeConnected } from './native.js'
import {
  checkDisconnectOptions,
  checkPublishOptions,
  checkRequestOptions,
  checkSubscribeOptions,
  checkUnsubscribeOptions,
  keyBytes,
  nativeOptions,
} from './options.js'
import { payloadBytes } from './payload.js'
import type { Requests } from './requests.js'
import { onAbort } from './signals.js'

export { MqttError }

export async function connectWithCustomAuthorizer(options: api.ConnectOptions): Promise<api.Connection> {
  const connect = nativeOptions(options)
  const { signal, initialConnect } = options
  signal?.throwIfAborted()
  try {
    const connection = new Connection(options, connect)
    if (initialConnect !== 'background') return await whenEstablished(connection, signal)
    if (signal !== undefined) Connection.cancelBy(connection, signal)
    return connection
  } catch (error) {
    // Where it was called says more than where the answer came in.
    if (error instanceof MqttError) Error.captureStackTrace(error, connectWithCustomAuthorizer)
    throw error
  }
}

export function signToken(token: string, privateKey: string | Uint8Array | KeyObject): string {
  if (typeof token !== 'string' || token === '')
    throw invalidOption('token must be a string that is not empty')
  const signature = native.signToken(token, keyBytes(privateKey))
  if (typeof signature !== 'string') throw new MqttError(signature)
  return signature
}

/** Loaded when it is called: it needs more of Node than a connection does. */
export async function diagnose(options: api.DiagnoseOptions): Promise<api.Diagnosis> {
  const { diagnose: walk } = await import('./diagnose.js')
  return walk(options)
}

function ignore(): void {}

/** What is replayed. */
type Told = 'connect' | 'interrupt' | 'resume' | 'closed'

type AwsMessageHandler = (
  topic: string,
  payload: ArrayBuffer,
  dup: boolean,
  qos: number,
  retain: boolean,
) => void | Promise<void>

class Connection extends EventEmitter<api.ConnectionEvents> implements api.Connection {
  /** Made for the first who waits for it. */
  #closed: Promise<api.CloseReason> | undefined
  #close: ((reason: api.CloseReason) => void) | undefined
  #reason: api.CloseReason | undefined
  /** Whether the app has asked for `closed`. */
  #watched = false
  readonly #channel: Channel<Connection>
  /** Who waits for the first CONNACK, or the end without one. */
  #opening: { establish: (connection: Connection) => void; fail: (error: Error) => void } | undefined
  readonly #mqttVersion: number
  readonly #logger: api.ConnectOptions['logger']
  readonly #onAttempt: api.ConnectOptions['onAttempt']
  /** Made with the first one. */
  #requests: Requests | undefined
  #state: api.ConnectionState = 'connecting'
  #connected: { sessionPresent: boolean; negotiated: api.Negotiated } | undefined
  /** Whether the app has the connection, or is about to. */
  #held: boolean
  #upSince: number | undefined
  #downSince = 0
  #attempts = 0
  #lastError: MqttError | undefined
  /** Whether there ever was a listener for every message. */
  #mayListen = false
  /** What is told once more, to the first listener that comes later. */
  readonly #replays: Partial<Record<Told, object | undefined>> = {}

  constructor(options: api.ConnectOptions, connect: ReturnType<typeof nativeOptions>) {
    super()
    this.#held = options.initialConnect === 'background'
    this.#mqttVersion = options.mqttVersion ?? 5
    this.#logger = options.logger
    this.#onAttempt = options.onAttempt
    const credit = options.receive?.maxMessages ?? 1_000
    this.#channel = new Channel(
      Connection.#face,
      this,
      {
        manualAck: options.manualAck ?? false,
        logLevel: options.logLevel ?? 'none',
        onMessage: options.onMessage,
        credentials: options.credentials,
        creditBatch: Math.max(1, Math.min(128, credit / 4)),
        credit,
      },
      connect,
    )
    this.#watchListeners()
  }

  static readonly #face: Face<Connection> = {
    connected(connection, connected) {
      const first = connection.#connected === undefined
      const { sessionPresent } = connected
      connection.#connected = { sessionPresent, negotiated: negotiated(connected) }
      connection.#upSince = now()
      const renewed = connection.#state === 'connected'
      if (connection.#state !== 'disconnecting') connection.#state = 'connected'
      connection.#held = true
      connection.#opening?.establish(connection)
      connection.#opening = undefined
      if (first) {
        connection.#tell('connect', connection.#connected)
      } else if (!renewed) {
        connection.#replays.interrupt = undefined
        const downMs = Math.round(connection.#upSince - connection.#downSince)
        connection.#tell('resume', { ...connection.#connected, downMs })
      }
    },
    interrupted(connection, error) {
      if (connection.#state === 'connected') connection.#state = 'reconnecting'
      connection.#upSince = undefined
      connection.#downSince = now()
      connection.#lastError = error
      connection.#replays.resume = undefined
      connection.#tell('interrupt', { error })
    },
    attempted(connection, attempt) {
      connection.#attempts = attempt.number
      connection.#lastError = attempt.error ?? connection.#lastError
      const onAttempt = connection.#onAttempt
      if (onAttempt !== undefined) isolated(() => onAttempt(attempt))
      publishDiagnostics('attempt', connection, attempt)
    },
    closed(connection, reason, told) {
      const { error } = reason
      connection.#state = 'closed'
      connection.#upSince = undefined
      connection.#lastError = error ?? connection.#lastError
      const asked = connection.#requests?.end(error) ?? false
      connection.#opening?.fail(error ?? new Error('connecting was aborted'))
      connection.#opening = undefined
      connection.#reason = reason
      connection.#close?.(reason)
      if (!connection.#held) return
      const known = told || asked || connection.#watched
      if (error !== undefined && !known && connection.listenerCount('closed') === 0) {
        process.emitWarning(
          `the connection of ${connection.clientId} has ended, and nobody watches its \`closed\`: ${error.code}: ${error.message}`,
          'ConnectionClosedWarning',
        )
      }
      connection.#tell('closed', reason)
    },
    listens: (connection) => connection.#mayListen && connection.listenerCount('message') > 0,
    message: (connection, message) => void connection.#emit('message', message),
    log(connection, record) {
      const logger = connection.#logger
      if (logger !== undefined) isolated(() => logger(record))
      connection.#emit('log', record)
    },
  }

  /** Resolves with the connection once the server has accepted it. To be asked once, of a new connection. */
  static established(connection: Connection): Promise<Connection> {
    return new Promise((establish, fail) => (connection.#opening = { establish, fail }))
  }

  /** Lets the signal end a connection that the app has already, as long as it was never established. */
  static cancelBy(connection: Connection, signal: AbortSignal): void {
    const cancel = () => void connection.disconnect({ force: true })
    onAbort(signal, cancel)
    void Connection.established(connection)
      .catch(ignore)
      .finally(() => signal.removeEventListener('abort', cancel))
  }

  get closed(): Promise<api.CloseReason> {
    this.#watched = true
    return this.#whenClosed()
  }

  get clientId(): string {
    return this.#channel.clientId
  }

  get state(): api.ConnectionState {
    return this.#state
  }

  get sessionPresent(): boolean {
    return this.#connected?.sessionPresent ?? false
  }

  get negotiated(): api.Negotiated | undefined {
    return this.#connected?.negotiated
  }

  publish(topic: string, payload: api.Payload, options?: api.PublishOptions): Promise<api.PublishResult>
  publish(topic: string, payload: api.Payload, qos: number, retain?: boolean): Promise<{ packet_id?: number }>
  // Not an async function: that would cost a promise and a turn of the microtasks for every message.
  publish(
    topic: string,
    payload: api.Payload,
    options: api.PublishOptions | number = {},
    retain: boolean | (() => void) = false,
  ): Promise<api.PublishResult | { packet_id?: number }> {
    try {
      if (typeof retain === 'function') throw invalidOption('publish takes no callback: it gives a promise')
      if (typeof topic !== 'string') throw invalidOption(`topic must be a string; got ${typeof topic}`)
      const content = typeof payload === 'string' ? payload : payloadBytes(payload)
      if (typeof options === 'number') {
        const published = this.#channel.publish(
          topic,
          content,
          qosNumber(options),
          retain === true,
          undefined,
        )
        return published.then(({ packetId }) => ({ packet_id: packetId }))
      }
      checkPublishOptions(options)
      const { qos = 1, retain: stored = false } = options
      return this.#channel.publish(topic, content, qosNumber(qos), stored, options)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  subscribe(
    filter: string | readonly string[],
    options?: api.SubscribeOptions,
    handler?: api.MessageHandler,
  ): Promise<api.Subscription>
  subscribe(
    topic: string,
    qos: number,
    onMessage?: AwsMessageHandler,
  ): Promise<{ packet_id?: number; topic: string; qos: number; error_code: number }>
  async subscribe(
    filter: string | readonly string[],
    options: api.SubscribeOptions | number = {},
    handler?: api.MessageHandler | AwsMessageHandler,
  ): Promise<api.Subscription | { packet_id?: number; topic: string; qos: number; error_code: number }> {
    const filters = filterList(filter)
    if (typeof options === 'function') {
      throw invalidOption('the handler is the third argument of subscribe: subscribe(filter, {}, handler)')
    }
    if (handler !== undefined && typeof handler !== 'function')
      throw invalidOption('handler must be a function')
    if (typeof options === 'number') {
      const deliver = awsHandler(handler as AwsMessageHandler | undefined)
      const { use, packetId } = await this.#channel.subscribe(filters, qosNumber(options), deliver, undefined)
      const { qos } = use.granted[0]
      return { packet_id: packetId, topic: filters[0], qos, error_code: 0 }
    }
    checkSubscribeOptions(options)
    const { qos = 1, signal } = options
    const own = handler as api.MessageHandler | undefined
    const { use } = await this.#channel.subscribe(filters, qosNumber(qos), own, signal)
    return use
  }

  async unsubscribe(
    filter: string | readonly string[],
    options: { signal?: AbortSignal } = {},
  ): Promise<api.UnsubscribeResult & { packet_id?: number }> {
    checkUnsubscribeOptions(options)
    const filters = filterList(filter)
    const { packetId, codes, said } = await this.#channel.unsubscribe(filters, options.signal)
    return { reasonCodes: codes, packet_id: packetId, ...(said !== '' && { reasonString: said }) }
  }

  async request(
    topic: string,
    payload: api.Payload,
    options: api.RequestOptions = {},
  ): Promise<api.Message & { readonly properties: api.MessageProperties }> {
    checkRequestOptions(options)
    if (this.#mqttVersion === 3) {
      throw invalidOption('request(): MQTT 3.1.1 has no requests and answers; use mqttVersion: 5')
    }
    this.#requests ??= this.#makeRequests()
    return await this.#requests.request(topic, payload, options)
  }

  async disconnect(options: { timeoutMs?: number; force?: boolean } = {}): Promise<void> {
    checkDisconnectOptions(options)
    const { timeoutMs = 5_000, force = false } = options
    if (this.#state === 'closed') return
    this.#state = 'disconnecting'
    this.#channel.disconnect(force ? 0 : Math.min(Math.max(timeoutMs, 0), 2 ** 31 - 1))
    await this.#whenClosed()
  }

  stats(): api.Stats {
    const { pingMicros, dropped, ...numbers } = this.#channel.native.stats()
    return {
      attempts: this.#attempts,
      uptimeMs: this.#upSince === undefined ? 0 : Math.round(now() - this.#upSince),
      ...numbers,
      dropped: dropped + this.#channel.dropped,
      ...(pingMicros > 0 && { pingMs: pingMicros / 1_000 }),
      ...(this.#lastError !== undefined && { lastError: this.#lastError }),
    }
  }

  /** All of them go but the one that is not the app's. */
  override removeAllListeners(...names: [name?: never]): this {
    super.removeAllListeners(...names)
    if (this.listenerCount('newListener' as 'message') === 0) this.#watchListeners()
    return this
  }

  ref(): this {
    this.#channel.reference(true)
    return this
  }

  unref(): this {
    this.#channel.reference(false)
    return this
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.disconnect()
  }

  [inspect.custom](): string {
    const { clientId, state, sessionPresent } = this
    return `Connection ${inspect({ clientId, state, sessionPresent })}`
  }

  #whenClosed(): Promise<api.CloseReason> {
    return (this.#closed ??=
      this.#reason === undefined
        ? new Promise((resolve) => (this.#close = resolve))
        : Promise.resolve(this.#reason))
  }

  #makeRequests(): Requests {
    // Not at import, which most of a short process is.
    const { Requests: Made } = require('./requests.js') as typeof import('./requests.js')
    const channel = this.#channel
    return new Made({
      clientId: channel.clientId,
      publish: (topic, payload, options) => this.publish(topic, payload, options),
      listen: async (topic, handler) => (await channel.subscribe([topic], 1, handler, undefined)).use,
    })
  }

  #tell(event: Told, payload: object): void {
    publishDiagnostics(event, this, payload)
    if (!this.#emit(event, payload)) this.#replays[event] = payload
  }

  /** Emits to each listener by itself: one that throws stops no other, and nothing else. */
  #emit(event: string, payload: unknown): boolean {
    if (this.listenerCount(event as 'message') === 0) return false
    for (const listener of this.rawListeners(event as 'message')) {
      isolated(() => Reflect.apply(listener, this, [payload]))
    }
    return true
  }

  #watchListeners(): void {
    EventEmitter.prototype.on.call(this, 'newListener', (event: string) => this.#listenerComes(event))
  }

  #listenerComes(event: string): void {
    if (event === 'message') {
      this.#mayListen = true
      queueMicrotask(() => this.#channel.claim())
    }
    const told = event as Told
    const payload = Object.hasOwn(this.#replays, event) ? this.#replays[told] : undefined
    if (payload === undefined) return
    this.#replays[told] = undefined
    queueMicrotask(() => {
      if (!this.#emit(event, payload)) this.#replays[told] = payload
    })
  }
}

/** Waits for CONNACK, or until the signal says otherwise. */
async function whenEstablished(connection: Connection, signal: AbortSignal | undefined): Promise<Connection> {
  if (signal === undefined) return Connection.established(connection)
  let abort: (() => void) | undefined
  const aborted = new Promise<never>((_, reject) => {
    abort = () => {
      void connection.disconnect({ force: true })
      reject(signal.reason as Error)
    }
    onAbort(signal, abort)
  })
  try {
    return await Promise.race([Connection.established(connection), aborted])
  } finally {
    if (abort !== undefined) signal.removeEventListener('abort', abort)
  }
}

function negotiated(connected: NativeConnected): api.Negotiated {
  const { maximumPacketSize, sessionExpirySeconds, alpnProtocol } = connected
  return {
    mqttVersion: connected.mqttVersion,
    keepAliveSeconds: connected.keepAliveSeconds,
    inFlight: connected.inFlight,
    maximumQoS: connected.maximumQos,
    retainAvailable: connected.retainAvailable,
    topicAliasMaximum: connected.topicAliasMaximum,
    ...(maximumPacketSize !== undefined && { maximumPacketSize }),
    ...(sessionExpirySeconds !== undefined && { sessionExpirySeconds }),
    ...(alpnProtocol !== undefined && { alpnProtocol }),
  }
}

function filterList(filter: string | readonly string[]): readonly string[] {
  const filters = typeof filter === 'string' ? [filter] : filter
  if (!Array.isArray(filters) || !filters.every((each) => typeof each === 'string')) {
    throw invalidOption('a topic filter must be a string, or an array of strings')
  }
  return filters
}

/** 0, 1 and 2 as they are, for the addon to judge; anything else as a number that no QoS is. */
function qosNumber(qos: unknown): number {
  return qos === 0 || qos === 1 || qos === 2 ? qos : 255
}

/** A handler in the form of the AWS SDK; without one, messages go to the `message` event alone. */
function awsHandler(handler: AwsMessageHandler | undefined): api.MessageHandler {
  if (handler === undefined) return () => {}
  return ({ topic, payload, dup, qos, retain }) => {
    const { buffer, byteOffset, byteLength } = payload
    const exact = (buffer as ArrayBuffer).slice(byteOffset, byteOffset + byteLength)
    // What an async handler promises delays the PUBACK, as with our own form.
    return handler(topic, exact, dup, qos, retain)
  }
}
