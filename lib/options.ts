// Options as the user gives them to those of the addon: types are checked here, values there.
import type { KeyObject } from 'node:crypto'
import { types } from 'node:util'
import type {
  ConnectOptions,
  CustomAuthorizerCredentials,
  DiagnoseOptions,
  FreshCredentials,
  LimitOptions,
  PublishOptions,
  ReconnectOptions,
  RequestOptions,
  SubscribeOptions,
  TlsOptions,
  WebSocketOptions,
  Will,
} from '../index.js'
import { invalidOption } from './errors.js'
import type {
  NativeCredentials,
  NativeOptions,
  NativeReconnect,
  NativeTls,
  NativeWebSocket,
  NativeWill,
} from './native.js'
import { payloadBytes } from './payload.js'
import { flatPairs, nativeProperties } from './properties.js'
import { nativeProxy } from './proxy.js'

type Kind =
  | 'string'
  | 'number'
  | 'boolean'
  | 'function'
  | 'bytes'
  | 'key'
  | 'authorities'
  | 'strings'
  | 'headers'
  | 'url'
  | 'signal'
  | 'group'
  | 'limit'
  | 'limits'
  | 'reconnect'
  | 'time'
  | 'any'

const CREDENTIALS: Record<keyof CustomAuthorizerCredentials, Kind> = {
  authorizerName: 'string',
  username: 'string',
  password: 'bytes',
  tokenKeyName: 'string',
  tokenValue: 'string',
  tokenSignature: 'string',
  tokenSigningKey: 'key',
  tokenEncoding: 'string',
}
const OPTIONS: Record<keyof ConnectOptions, Kind> = {
  endpoint: 'string',
  port: 'number',
  clientId: 'string',
  mqttVersion: 'number',
  ...CREDENTIALS,
  credentials: 'function',
  credentialsTimeoutMs: 'number',
  transport: 'string',
  websocket: 'group',
  tls: 'group',
  proxy: 'url',
  keepAliveSeconds: 'number',
  pingTimeoutMs: 'number',
  connectTimeoutMs: 'number',
  ackTimeoutMs: 'number',
  cleanSession: 'boolean',
  sessionExpirySeconds: 'number',
  will: 'group',
  connectProperties: 'group',
  topicAliases: 'boolean',
  initialConnect: 'string',
  reconnect: 'reconnect',
  queue: 'group',
  receive: 'group',
  manualAck: 'boolean',
  onMessage: 'function',
  limits: 'limits',
  logLevel: 'string',
  onAttempt: 'function',
  logger: 'function',
  signal: 'signal',
}
const DIAGNOSE: Record<Exclude<keyof DiagnoseOptions, keyof ConnectOptions>, Kind> = {
  topic: 'string',
  takeOver: 'boolean',
  probePublish: 'boolean',
  publicKey: 'any',
  onStep: 'function',
}
const FRESH: Record<keyof FreshCredentials, Kind> = { ...CREDENTIALS, expiresAt: 'time' }
const PUBLISH: Record<keyof PublishOptions, Kind> = {
  qos: 'number',
  retain: 'boolean',
  expiresInMs: 'number',
  properties: 'group',
  signal: 'signal',
}
const REQUEST: Record<keyof RequestOptions, Kind> = {
  ...PUBLISH,
  responseTopic: 'string',
  timeoutMs: 'number',
}
const WILL: Record<keyof Will, Kind> = {
  topic: 'string',
  payload: 'any',
  qos: 'number',
  retain: 'boolean',
  delaySeconds: 'number',
  properties: 'group',
}
const RECONNECT: Record<keyof ReconnectOptions, Kind> = {
  minDelayMs: 'number',
  maxDelayMs: 'number',
  stableAfterMs: 'number',
  spreadMs: 'number',
  maxAttempts: 'number',
  stopAfterRefusals: 'number',
  renewAfterSeconds: 'number',
}
const LIMITS: Record<keyof LimitOptions, Kind> = {
  publishesPerSecond: 'limit',
  bytesPerSecond: 'limit',
  inFlight: 'limit',
  subscriptions: 'limit',
}
const CONNECT_PROPERTIES = { userProperties: 'any' } as const
const SUBSCRIBE: Record<keyof SubscribeOptions, Kind> = { qos: 'number', signal: 'signal' }
const UNSUBSCRIBE = { signal: 'signal' } as const
const DISCONNECT = { timeoutMs: 'number', force: 'boolean' } as const
const WEBSOCKET: Record<keyof WebSocketOptions, Kind> = {
  path: 'string',
  credentialsIn: 'string',
  headers: 'headers',
}
const TLS: Record<keyof TlsOptions, Kind> = {
  ca: 'authorities',
  caFile: 'string',
  cert: 'bytes',
  key: 'key',
  minVersion: 'string',
  alpnProtocols: 'strings',
  serverName: 'string',
  keyLog: 'boolean',
}
const BOUNDS = { maxMessages: 'number', maxBytes: 'number' } as const
const QUEUE = { ...BOUNDS, whenFull: 'string', qos0: 'string' } as const
/** Milliseconds since the epoch below this are a date in 1973: they must be seconds. */
const EARLIEST_MS = 1e11
/** Message Expiry Interval is a number of seconds in 32 bits. */
const LONGEST_MS = 0xffff_ffff * 1_000

const EXPECTED: Record<Kind, string> = {
  string: 'a string',
  number: 'a number',
  boolean: 'true or false',
  function: 'a function',
  bytes: 'a string or a Uint8Array',
  key: 'a string, a Uint8Array or a KeyObject with a private key',
  authorities: 'PEM as a string or Uint8Array, or an array with at least one of these',
  strings: 'an array of strings',
  headers: 'an object of names and values',
  url: "a URL, as text or as an object, or 'environment'",
  signal: 'an AbortSignal',
  group: 'an object',
  limit: 'a number or false',
  limits: "'aws-iot-core', 'none' or an object",
  reconnect: 'false or an object',
  time: 'a Date, or a number of milliseconds since the epoch',
  any: 'anything',
}

/** Checks names and types; the addon checks what the values mean. */
export function nativeOptions(options: ConnectOptions): NativeOptions {
  check(options, OPTIONS, '')
  const { queue = {}, receive = {}, limits, reconnect, connectProperties = {} } = options
  check(queue, QUEUE, 'queue.')
  check(receive, BOUNDS, 'receive.')
  check(connectProperties, CONNECT_PROPERTIES, 'connectProperties.')
  const changes: LimitOptions = typeof limits === 'object' ? limits : {}
  check(changes, LIMITS, 'limits.')
  if (options.endpoint === undefined) {
    throw invalidOption(
      'endpoint is missing',
      '`aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints it.',
    )
  }
  const native: Record<string, unknown> = {
    endpoint: options.endpoint,
    port: options.port,
    clientId: options.clientId,
    mqttVersion: options.mqttVersion,
    credentials: nativeCredentials(options),
    asksCredentials: options.credentials !== undefined,
    credentialsTimeoutMs: options.credentialsTimeoutMs,
    transport: options.transport,
    websocket: options.websocket && nativeWebSocket(options.websocket),
    tls: nativeTls(options.tls ?? {}, process.env),
    proxy: nativeProxy(options.proxy, options.endpoint, options.port, process.env),
    keepAliveSeconds: options.keepAliveSeconds,
    pingTimeoutMs: options.pingTimeoutMs,
    connectTimeoutMs: options.connectTimeoutMs,
    ackTimeoutMs: options.ackTimeoutMs,
    cleanSession: options.cleanSession,
    sessionExpirySeconds: options.sessionExpirySeconds,
    will: options.will && nativeWill(options.will),
    userProperties: flatPairs(connectProperties.userProperties, 'connectProperties.userProperties'),
    topicAliases: options.topicAliases,
    initialConnect: options.initialConnect,
    reconnect: nativeReconnect(reconnect),
    queueMaxMessages: queue.maxMessages,
    queueMaxBytes: queue.maxBytes,
    queueWhenFull: queue.whenFull,
    queueQos0: queue.qos0,
    receiveMaxMessages: receive.maxMessages,
    receiveMaxBytes: receive.maxBytes,
    limits: typeof limits === 'string' ? limits : undefined,
    publishesPerSecond: changes.publishesPerSecond,
    bytesPerSecond: changes.bytesPerSecond,
    inFlight: changes.inFlight,
    subscriptions: changes.subscriptions,
    logLevel: options.logLevel,
  }
  return native as unknown as NativeOptions
}

/** What the app's function returned. */
export function freshCredentials(given: unknown): {
  credentials: NativeCredentials
  expiresAt: number | undefined
} {
  if (!isKind(given, 'group')) throw invalidOption(`it must be an object; got ${describe(given)}`)
  const fresh = given as FreshCredentials
  check(fresh, FRESH, '')
  const expiresAt = fresh.expiresAt === undefined ? undefined : Number(fresh.expiresAt)
  if (expiresAt !== undefined && !(expiresAt >= EARLIEST_MS && expiresAt <= 8.64e15)) {
    throw invalidOption(
      Number.isFinite(expiresAt)
        ? 'expiresAt is a number of milliseconds since the epoch; did you give seconds?'
        : 'expiresAt is no valid date',
    )
  }
  return { credentials: nativeCredentials(fresh), expiresAt }
}

function nativeCredentials(given: CustomAuthorizerCredentials): NativeCredentials {
  const credentials: Record<string, unknown> = {
    authorizerName: given.authorizerName,
    username: given.username,
    password: given.password === undefined ? undefined : bytes(given.password),
    tokenKeyName: given.tokenKeyName,
    tokenValue: given.tokenValue,
    tokenSignature: given.tokenSignature,
    tokenSigningKey: given.tokenSigningKey === undefined ? undefined : keyBytes(given.tokenSigningKey),
    tokenEncoding: given.tokenEncoding,
  }
  return credentials
}

function nativeWebSocket(given: WebSocketOptions): NativeWebSocket {
  check(given, WEBSOCKET, 'websocket.')
  const { path, credentialsIn, headers = {} } = given
  for (const [name, value] of Object.entries<unknown>(headers)) {
    // Never the value itself: it may be a secret.
    if (typeof value !== 'string') {
      throw invalidOption(
        `websocket.headers: the value of ${JSON.stringify(name)} must be a string; got ${describe(value)}`,
      )
    }
  }
  return {
    ...(path !== undefined && { path }),
    ...(credentialsIn !== undefined && { credentialsIn }),
    headers: flatPairs(headers, 'websocket.headers'),
  }
}

/** A worker thread's environment is a copy of its own, which the addon does not see. */
function nativeTls(given: TlsOptions, environment: NodeJS.ProcessEnv): NativeTls {
  check(given, TLS, 'tls.')
  const tls: Record<keyof NativeTls, unknown> = {
    ca: given.ca === undefined ? undefined : [given.ca].flat().map((pem) => bytes(pem)),
    caFile: given.caFile,
    cert: given.cert === undefined ? undefined : bytes(given.cert),
    key: given.key === undefined ? undefined : keyBytes(given.key),
    minVersion: given.minVersion,
    alpnProtocols: given.alpnProtocols,
    serverName: given.serverName,
    keyLog: given.keyLog,
    // An empty variable counts as absent.
    sslCertFile: environment.SSL_CERT_FILE || undefined,
    sslCertDir: environment.SSL_CERT_DIR || undefined,
    extraCaFile: environment.NODE_EXTRA_CA_CERTS || undefined,
  }
  return tls as NativeTls
}

function nativeReconnect(given: ConnectOptions['reconnect']): NativeReconnect {
  if (given === false) return { never: true }
  check(given ?? {}, RECONNECT, 'reconnect.')
  return { ...given, never: false }
}

function nativeWill(given: Will): NativeWill {
  check(given, WILL, 'will.')
  const { topic, payload, qos = 1, retain = false, delaySeconds = 0, properties } = given
  if (topic === undefined || payload === undefined) throw invalidOption('will needs a topic and a payload')
  if (!(Number.isInteger(delaySeconds) && delaySeconds >= 0 && delaySeconds <= 0xffff_ffff)) {
    throw invalidOption(`will.delaySeconds must be a whole number from 0 to 4294967295; got ${delaySeconds}`)
  }
  return {
    topic,
    payload: payloadBytes(payload, 'will.payload'),
    qos: qos === 0 || qos === 1 ? qos : 255,
    retain,
    delaySeconds,
    properties: nativeProperties(properties, 'will.properties'),
  }
}

/** Those of a diagnosis alone; the others are checked as ever. */
export function checkDiagnoseOptions(options: DiagnoseOptions): DiagnoseOptions {
  if (!isKind(options, 'group')) throw invalidOption('options must be an object')
  const own = Object.fromEntries(Object.entries(options).filter(([name]) => Object.hasOwn(DIAGNOSE, name)))
  check(own, DIAGNOSE, '')
  if (options.probePublish === true && options.topic === undefined) {
    throw invalidOption(
      'probePublish needs the option `topic`',
      'Subscribers and rules get the message: choose one where it does no harm.',
    )
  }
  return options
}

export function checkPublishOptions(options: PublishOptions): void {
  // The general check costs a tenth of a publish.
  if (!isPlainPublish(options)) check(options, PUBLISH, '')
  const { expiresInMs } = options
  if (expiresInMs !== undefined && !(expiresInMs > 0 && expiresInMs <= LONGEST_MS)) {
    throw invalidOption(
      `expiresInMs must be a number of milliseconds above 0 and up to ${LONGEST_MS}; got ${expiresInMs}`,
    )
  }
}

/** Whether nothing but QoS and retain is in it, of their types. */
function isPlainPublish(options: PublishOptions): boolean {
  if (typeof options !== 'object' || options === null) return false
  for (const name in options) if (name !== 'qos' && name !== 'retain') return false
  const { qos, retain } = options
  return (
    (qos === undefined || typeof qos === 'number') && (retain === undefined || typeof retain === 'boolean')
  )
}

export function checkRequestOptions(options: RequestOptions): void {
  check(options, REQUEST, '')
  const { timeoutMs } = options
  if (timeoutMs !== undefined && !(timeoutMs >= 1 && timeoutMs < 2 ** 31)) {
    throw invalidOption(`timeoutMs must be a number from 1 to ${2 ** 31 - 1}; got ${timeoutMs}`)
  }
}

export function checkDisconnectOptions(options: { timeoutMs?: number; force?: boolean }): void {
  check(options, DISCONNECT, '')
}

export function checkUnsubscribeOptions(options: { signal?: AbortSignal }): void {
  check(options, UNSUBSCRIBE, '')
}

export function checkSubscribeOptions(options: SubscribeOptions): void {
  check(options, SUBSCRIBE, '')
}

/** The bytes of a private key: text as it is, a KeyObject as PKCS#8. */
export function keyBytes(key: string | Uint8Array | KeyObject): Uint8Array {
  if (!isKind(key, 'key'))
    throw invalidOption(`the private key must be ${EXPECTED.key}; got ${describe(key)}`)
  return isPrivateKey(key) ? key.export({ type: 'pkcs8', format: 'der' }) : bytes(key)
}

function check(given: object, known: Readonly<Record<string, Kind>>, prefix: string): void {
  if (!isKind(given, 'group')) throw invalidOption(`${prefix.slice(0, -1) || 'options'} must be an object`)
  for (const name of Object.keys(given)) {
    const value: unknown = given[name as keyof typeof given]
    if (!Object.hasOwn(known, name)) {
      const others = Object.keys(known).join(', ')
      throw invalidOption(
        `there is no option ${prefix}${JSON.stringify(name)}`,
        `The options are: ${others}.`,
      )
    }
    // Never the value itself: it may be a secret.
    if (value !== undefined && !isKind(value, known[name])) {
      throw invalidOption(`${prefix}${name} must be ${EXPECTED[known[name]]}; got ${describe(value)}`)
    }
  }
}

function isKind(value: unknown, kind: Kind): boolean {
  switch (kind) {
    case 'bytes':
      return typeof value === 'string' || types.isUint8Array(value)
    case 'key':
      return isKind(value, 'bytes') || isPrivateKey(value)
    case 'authorities':
      // None at all would be those of the system.
      return Array.isArray(value)
        ? value.length > 0 && value.every((pem) => isKind(pem, 'bytes'))
        : isKind(value, 'bytes')
    case 'strings':
      return Array.isArray(value) && value.every((each) => typeof each === 'string')
    case 'headers':
      // A Headers or a Map would look empty.
      return isKind(value, 'group') && !(Symbol.iterator in (value as object))
    case 'url':
      // Also one of another realm: test runners have one of their own.
      return typeof value === 'string' || Object.prototype.toString.call(value) === '[object URL]'
    case 'signal':
      return value instanceof AbortSignal
    case 'limit':
      return value === false || typeof value === 'number'
    case 'limits':
      return typeof value === 'string' || isKind(value, 'group')
    case 'reconnect':
      return value === false || isKind(value, 'group')
    case 'time':
      return typeof value === 'number' || types.isDate(value)
    case 'any':
      return true
    case 'group':
      return typeof value === 'object' && value !== null && !Array.isArray(value)
    default:
      return typeof value === kind
  }
}

function isPrivateKey(value: unknown): value is KeyObject {
  return types.isKeyObject(value) && value.type === 'private'
}

function describe(value: unknown): string {
  if (value === null) return 'null'
  if (value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

function bytes(value: string | Uint8Array): Uint8Array {
  return typeof value === 'string' ? Buffer.from(value) : value
}
