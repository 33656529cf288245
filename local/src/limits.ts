import { isObject } from './options'

/**
 * The numbers that bound a connection. The first group is IoT Core's own; the second keeps a hostile
 * client from growing this process.
 */
export interface Limits {
  clientIdBytes: number
  payloadBytes: number
  /** CONNECT and every other packet, fixed header not counted; also CONNACK's Maximum Packet Size. */
  packetBytes: number
  topicBytes: number
  topicSlashes: number
  shareNameLength: number
  filtersPerSubscribe: number
  subscriptionsPerConnection: number
  /** Unacknowledged QoS 1 messages in either direction; also CONNACK's Receive Maximum. */
  inFlight: number
  topicAliases: number
  minKeepAliveSeconds: number
  maxKeepAliveSeconds: number
  /**
   * A client that has been silent for this many times its keep-alive is cut off. Infinity cuts nobody off: with a
   * clock that a test moves, a client's PINGREQ would come too late.
   */
  keepAliveFactor: number
  sessionExpirySeconds: number
  messageExpirySeconds: number
  handlerTimeoutMs: number
  /** CONNECT packets of one client id; those beyond are refused. This and the next two may be Infinity. */
  connectsPerSecond: number
  /**
   * PUBLISH packets of one connection, both directions together; a second's worth may come at once. Beyond it
   * those of the client are discarded without PUBACK; those to it are discarded (QoS 0) or wait (QoS 1).
   */
  publishesPerSecond: number
  /** Both directions together; what is beyond them waits. */
  bytesPerSecond: number
  /** A QoS 1 message without PUBACK is sent again after this time, and again. AWS names no figure. */
  redeliverAfterMs: number
  /** From its first sending on a connection; then it is dropped. */
  redeliverForMs: number
  /** Stored messages that a resumed session gets a second; `Infinity` sends them at once. */
  replayPerSecond: number

  /** From the TCP accept to a complete CONNECT. */
  connectTimeoutMs: number
  /** TCP connections at a time, whatever they are for; a further one is closed as it comes. */
  connections: number
  /** The header of the request that opens a WebSocket, its query string included. */
  httpHeaderBytes: number
  /** A WebSocket message, which may hold several MQTT packets. */
  webSocketMessageBytes: number
  /** What may wait in memory for a slow reader before QoS 0 messages to it are dropped. */
  outboundBytes: number
  /** The same for all slow readers together. */
  outboundTotalBytes: number
  /** QoS 1 messages that wait for one session, connected or not. */
  queuedBytes: number
  /** QoS 1 messages that wait for all sessions together, or for a PUBACK. */
  queuedTotalBytes: number
  retainedBytes: number
  /**
   * Persistent sessions without a connection, and client ids whose version number in lifecycle events is remembered;
   * the one that was left first goes first.
   */
  storedSessions: number
  /** How many entries `events` and `invocations` keep; the oldest go first. */
  recordedEntries: number
  /** What the entries of `events` may take in memory, and those of `invocations`; about, and the oldest go first. */
  recordedBytes: number
}

const KIB = 1024
const MIB = 1024 * KIB

export const IOT_CORE_LIMITS: Readonly<Limits> = Object.freeze({
  clientIdBytes: 128,
  payloadBytes: 128 * KIB,
  packetBytes: 146 * KIB,
  topicBytes: 256,
  topicSlashes: 7,
  shareNameLength: 128,
  filtersPerSubscribe: 8,
  subscriptionsPerConnection: 50,
  inFlight: 100,
  topicAliases: 8,
  minKeepAliveSeconds: 30,
  maxKeepAliveSeconds: 1200,
  keepAliveFactor: 1.5,
  sessionExpirySeconds: 3600,
  messageExpirySeconds: 604_800,
  handlerTimeoutMs: 5000,
  connectsPerSecond: 1,
  publishesPerSecond: 100,
  bytesPerSecond: 512 * KIB,
  redeliverAfterMs: 30_000,
  redeliverForMs: 3_600_000,
  replayPerSecond: 10,

  connectTimeoutMs: 10_000,
  connections: 10_000,
  httpHeaderBytes: 32 * KIB,
  webSocketMessageBytes: 256 * KIB,
  outboundBytes: 8 * MIB,
  outboundTotalBytes: 256 * MIB,
  queuedBytes: 64 * MIB,
  queuedTotalBytes: 512 * MIB,
  retainedBytes: 256 * MIB,
  storedSessions: 10_000,
  recordedEntries: 50_000,
  recordedBytes: 64 * MIB,
})

/** IoT Core's numbers with those in their place that were given. Throws for a limit that does not exist or is no number. */
export function readLimits(given: unknown): Limits {
  if (given !== undefined && !isObject(given)) throw new TypeError('limits must be an object, name -> number')
  const limits: Limits = { ...IOT_CORE_LIMITS }
  for (const [name, value] of Object.entries(given ?? {})) {
    if (value === undefined) continue
    if (!Object.hasOwn(IOT_CORE_LIMITS, name)) {
      const names = Object.keys(IOT_CORE_LIMITS)
      const meant = names.find((known) => known.toLowerCase() === name.toLowerCase())
      throw new TypeError(
        `there is no limit "${name}"; ${meant === undefined ? `the limits are: ${names.join(', ')}` : `did you mean ${meant}?`}`,
      )
    }
    const limit = name as keyof Limits
    const [least, most] = RANGES[limit] ?? [0, Infinity]
    if (typeof value !== 'number' || !(value >= least && value <= most)) {
      const shown = typeof value === 'string' ? JSON.stringify(value) : String(value)
      throw new TypeError(`limits.${name} must be a number ${describeRange(least, most)}; it is ${shown}`)
    }
    limits[limit] = value
  }
  return limits
}

/** Of those that are not from 0 to Infinity: what no connection could live with, or MQTT has no room for. */
const RANGES: Partial<Record<keyof Limits, readonly [number, number]>> = {
  packetBytes: [1024, 268_435_455],
  inFlight: [1, 65_535],
  topicAliases: [0, 65_535],
  minKeepAliveSeconds: [0, 65_535],
  maxKeepAliveSeconds: [1, 65_535],
  sessionExpirySeconds: [0, 4_294_967_295],
  handlerTimeoutMs: [1, 2_147_483_647],
  keepAliveFactor: [Number.MIN_VALUE, Infinity],
  connectsPerSecond: [Number.MIN_VALUE, Infinity],
  publishesPerSecond: [Number.MIN_VALUE, Infinity],
  bytesPerSecond: [Number.MIN_VALUE, Infinity],
  replayPerSecond: [Number.MIN_VALUE, Infinity],
  redeliverAfterMs: [1, Infinity],
  connectTimeoutMs: [1, 2_147_483_647],
  connections: [1, Infinity],
  httpHeaderBytes: [1024, 1_073_741_824],
  webSocketMessageBytes: [1024, 1_073_741_824],
  recordedEntries: [1, Infinity],
}

function describeRange(least: number, most: number): string {
  const from = least === Number.MIN_VALUE ? 'above 0' : `from ${least}`
  if (most === Infinity) return least === 0 ? 'from 0, or Infinity' : `${from}, or Infinity`
  return `${from} to ${most}`
}

/** IoT Core raises 1..29 to 30 and reads 0 as its maximum. */
export function grantKeepAlive(seconds: number, limits: Limits): number {
  if (seconds === 0) return limits.maxKeepAliveSeconds
  return Math.min(Math.max(seconds, limits.minKeepAliveSeconds), limits.maxKeepAliveSeconds)
}
