// Options as the user gives them to those of the addon: types are checked here, values there.
import type { KeyObject } from 'node:crypto'
import type { ConnectOptions } from '../index.js'
import { invalidOption } from './errors.js'
import type { NativeOptions } from './native.js'

type Kind =
  'string' | 'number' | 'boolean' | 'function' | 'bytes' | 'key' | 'authorities' | 'signal' | 'group'

const OPTIONS: Record<keyof ConnectOptions, Kind> = {
  endpoint: 'string',
  port: 'number',
  clientId: 'string',
  mqttVersion: 'number',
  authorizerName: 'string',
  username: 'string',
  password: 'bytes',
  tokenKeyName: 'string',
  tokenValue: 'string',
  tokenSignature: 'string',
  tokenSigningKey: 'key',
  tokenEncoding: 'string',
  tls: 'group',
  keepAliveSeconds: 'number',
  pingTimeoutMs: 'number',
  connectTimeoutMs: 'number',
  ackTimeoutMs: 'number',
  cleanSession: 'boolean',
  sessionExpirySeconds: 'number',
  queue: 'group',
  receive: 'group',
  manualAck: 'boolean',
  onMessage: 'function',
  limits: 'string',
  logLevel: 'string',
  logger: 'function',
  signal: 'signal',
}
const TLS = { ca: 'authorities', caFile: 'string' } as const
const BOUNDS = { maxMessages: 'number', maxBytes: 'number' } as const

const EXPECTED: Record<Kind, string> = {
  string: 'a string',
  number: 'a number',
  boolean: 'true or false',
  function: 'a function',
  bytes: 'a string or a Uint8Array',
  key: 'a string, a Uint8Array or a KeyObject with a private key',
  authorities: 'PEM as a string or Uint8Array, or an array of these',
  signal: 'an AbortSignal',
  group: 'an object',
}

/** Checks names and types; the addon checks what the values mean. */
export function nativeOptions(options: ConnectOptions): NativeOptions {
  if (typeof options !== 'object' || options === null) throw invalidOption('options must be an object')
  check(options, OPTIONS, '')
  const { tls = {}, queue = {}, receive = {} } = options
  check(tls, TLS, 'tls.')
  check(queue, BOUNDS, 'queue.')
  check(receive, BOUNDS, 'receive.')
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
    authorizerName: options.authorizerName,
    username: options.username,
    password: bytes(options.password),
    tokenKeyName: options.tokenKeyName,
    tokenValue: options.tokenValue,
    tokenSignature: options.tokenSignature,
    tokenSigningKey: options.tokenSigningKey === undefined ? undefined : keyBytes(options.tokenSigningKey),
    tokenEncoding: options.tokenEncoding,
    ca: tls.ca === undefined ? undefined : [tls.ca].flat().map((pem) => bytes(pem)),
    caFile: tls.caFile,
    keepAliveSeconds: options.keepAliveSeconds,
    pingTimeoutMs: options.pingTimeoutMs,
    connectTimeoutMs: options.connectTimeoutMs,
    ackTimeoutMs: options.ackTimeoutMs,
    cleanSession: options.cleanSession,
    sessionExpirySeconds: options.sessionExpirySeconds,
    queueMaxMessages: queue.maxMessages,
    queueMaxBytes: queue.maxBytes,
    receiveMaxMessages: receive.maxMessages,
    receiveMaxBytes: receive.maxBytes,
    limits: options.limits,
    logLevel: options.logLevel,
  }
  return native as unknown as NativeOptions
}

/** The bytes of a private key: text as it is, a KeyObject as PKCS#8. Empty counts as absent. */
export function keyBytes(key: string | Uint8Array | KeyObject): Uint8Array | undefined {
  if (typeof key === 'string' || key instanceof Uint8Array) return bytes(key)
  if (!isPrivateKey(key)) throw invalidOption(`tokenSigningKey must be ${EXPECTED.key}`)
  return key.export({ type: 'pkcs8', format: 'der' })
}

function check(given: object, known: Readonly<Record<string, Kind>>, prefix: string): void {
  if (typeof given !== 'object' || given === null)
    throw invalidOption(`${prefix.slice(0, -1)} must be an object`)
  for (const [name, value] of Object.entries(given)) {
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
      return typeof value === 'string' || value instanceof Uint8Array
    case 'key':
      return typeof value === 'string' || value instanceof Uint8Array || isPrivateKey(value)
    case 'authorities':
      return [value].flat().every((pem) => isKind(pem, 'bytes'))
    case 'signal':
      return value instanceof AbortSignal
    case 'group':
      return typeof value === 'object' && value !== null && !Array.isArray(value)
    default:
      return typeof value === kind
  }
}

function isPrivateKey(value: unknown): value is KeyObject {
  return typeof value === 'object' && value !== null && (value as KeyObject).type === 'private'
}

function describe(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

function bytes(value: string | Uint8Array | undefined): Uint8Array | undefined {
  return typeof value === 'string' ? Buffer.from(value) : value
}
