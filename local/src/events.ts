import { systemClock, type Clock } from './clock'
import type { FaultActionName, FaultDirection } from './faults/fault'
import { notify } from './handler/notify'
import type { Limits } from './limits'
import type { Decision } from './policy/policy'
import { Recording } from './recording'
import type { RefusalStage } from './connection/refusal'
import { shorten } from './shorten'

/** What happened at the endpoint, in order. No event holds a password, token or signature. */
export type LocalEvent =
  | ConnectRefused
  | AuthorizerAnswered
  | Connected
  | Refreshed
  | Publish
  | Subscribe
  | Unsubscribe
  | Receive
  | Dropped
  | Ignored
  | HandlerLog
  | HandlerReloaded
  | Warning
  | FaultApplied
  | Disconnected

interface EventBase {
  /** Milliseconds since the epoch. */
  time: number
  /** The `connectionMetadata.id` that the authorizer sees. */
  connectionId: string
  /** Known once CONNECT was read. */
  clientId?: string
}

/** The connection got no CONNACK 0: at this stage, by this rule. */
export interface ConnectRefused extends EventBase {
  type: 'connect-refused'
  stage: RefusalStage
  rule: string
  message: string
  authorizerName?: string
  /** For the stage `policy`: what denied it. */
  decision?: Decision
}

/** A handler was called and its answer, or the lack of one, was judged. */
export interface AuthorizerAnswered extends EventBase {
  type: 'authorizer-answered'
  authorizerName: string
  signatureVerified: boolean
  outcome: 'authenticated' | 'denied' | 'failed'
  /** For `failed`: the rule that the answer broke. */
  rule?: string
  message?: string
  /** For `handler-error`: where the handler failed. */
  stack?: string
}

/** What a handler that is a module printed; no connection is named if it did so outside of any call. */
export interface HandlerLog {
  type: 'handler-log'
  time: number
  connectionId?: string
  clientId?: string
  authorizerName: string
  stream: 'stdout' | 'stderr'
  text: string
}

/** The next connection gets the new code of this authorizer's module. */
export interface HandlerReloaded {
  type: 'handler-reloaded'
  time: number
  authorizerName: string
  /** What changed. */
  files: string[]
}

export interface Connected extends EventBase {
  type: 'connected'
  clientId: string
  protocolVersion: 3 | 5
  transport: 'tls' | 'websocket'
  serverName?: string
  authorizerName: string
  principalId: string
  cleanStart: boolean
  sessionPresent: boolean
  keepAliveSeconds: number
  sessionExpirySeconds: number
  disconnectAfterInSeconds: number
  refreshAfterInSeconds: number
  decision: Decision
  /** Of the Will's topic. */
  willDecision?: Decision
}

/** The authorizer was asked again and its answer is in force; `decision` is whether that still allows iot:Connect. */
export interface Refreshed extends EventBase {
  type: 'refreshed'
  clientId: string
  authorizerName: string
  principalId: string
  refreshAfterInSeconds: number
  decision: Decision
}

/** A PUBLISH from the client. `problem` says why one that the policy allows was refused all the same. */
export interface Publish extends EventBase {
  type: 'publish'
  topic: string
  qos: 0 | 1
  retain: boolean
  bytes: number
  allowed: boolean
  decision?: Decision
  problem?: string
}

/** One filter of a SUBSCRIBE. */
export interface Subscribe extends EventBase {
  type: 'subscribe'
  filter: string
  qos: 0 | 1
  allowed: boolean
  /** What SUBACK carries on MQTT 5; on 3.1.1 a refused filter closes the connection. */
  reasonCode: number
  decision?: Decision
  problem?: string
}

export interface Unsubscribe extends EventBase {
  type: 'unsubscribe'
  filter: string
}

/** A message on its way to the client; one that the policy denies is silently not delivered. */
export interface Receive extends EventBase {
  type: 'receive'
  topic: string
  qos: 0 | 1
  bytes: number
  /** It was sent on this connection before, and no PUBACK came. */
  redelivery?: true
  allowed: boolean
  decision: Decision
}

/** A message that was lost: on its way to this client or, with `throttled`, perhaps from it. */
export interface Dropped extends EventBase {
  type: 'dropped'
  topic: string
  qos: 0 | 1
  reason:
    | 'slow-reader'
    | 'queue-full'
    | 'expired'
    | 'not-acknowledged'
    | 'packet-too-large'
    | 'retained-full'
    | 'throttled'
}

/** A packet that IoT Core does not answer: anything with QoS 2. */
export interface Ignored extends EventBase {
  type: 'ignored'
  packet: string
  message: string
}

/** Nothing failed, but it would probably not do what its author meant. About the endpoint itself, there is no connection. */
export interface Warning extends Partial<Pick<EventBase, 'connectionId' | 'clientId'>> {
  type: 'warning'
  time: number
  authorizerName?: string
  message: string
  stack?: string
}

/** Something went wrong because a test wanted it: a fault, or an action on a connection. */
export interface FaultApplied extends EventBase {
  type: 'fault'
  /** The packet that a fault was applied to; none for an action on a connection. */
  packet?: string
  direction?: FaultDirection
  action: FaultActionName | 'pause' | 'resume' | 'send'
  message: string
}

/** IoT Core's names from its lifecycle events. */
export type DisconnectReason =
  | 'AUTH_ERROR'
  | 'CLIENT_INITIATED_DISCONNECT'
  | 'CLIENT_ERROR'
  | 'CONNECTION_LOST'
  | 'CUSTOMAUTH_TTL_EXPIRATION'
  | 'DUPLICATE_CLIENTID'
  | 'MQTT_KEEP_ALIVE_TIMEOUT'
  | 'SERVER_ERROR'
  | 'SERVER_INITIATED_DISCONNECT'

/** The end of a connection that had been accepted. */
export interface Disconnected extends EventBase {
  type: 'disconnected'
  clientId: string
  disconnectReason: DisconnectReason
  clientInitiated: boolean
  willPublished: boolean
  message: string
}

/** An event as its maker writes it; the time is added by the journal. */
export type NewEvent<E extends LocalEvent = LocalEvent> = E extends LocalEvent ? Omit<E, 'time'> : never

/** Longer than any topic that IoT Core takes. */
const MAX_TOPIC_LENGTH = 400

/** The list of events behind `LocalEndpoint.events`. */
export class Journal {
  readonly #recording: Recording<LocalEvent>
  readonly #log: ((event: LocalEvent) => void) | undefined
  readonly #clock: Clock

  constructor(
    limits: Pick<Limits, 'recordedEntries' | 'recordedBytes'>,
    log?: (event: LocalEvent) => void,
    clock: Clock = systemClock,
  ) {
    this.#recording = new Recording(limits)
    this.#clock = clock
    this.#log = log
  }

  get events(): readonly LocalEvent[] {
    return this.#recording.entries
  }

  record(event: NewEvent): void {
    const entry: LocalEvent = { time: this.#clock.now(), ...event }
    if ('topic' in entry) entry.topic = shorten(entry.topic, MAX_TOPIC_LENGTH)
    if ('filter' in entry) entry.filter = shorten(entry.filter, MAX_TOPIC_LENGTH)
    this.#recording.append(entry)
    notify(this.#log, entry)
  }
}
