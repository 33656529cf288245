// Options as the user gives them to those of the addon: types are checked here, values there.
import type { KeyObject } from 'node:crypto'
import { types } from 'node:util'
import type { ConnectOptions, PublishOptions, SubscribeOptions } from '../index.js'
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
const PUBLISH: Record<keyof PublishOptions, Kind> = { qos: 'number', retain: 'boolean', signal: 'signal' }
const SUBSCRIBE: Record<keyof SubscribeOptions, Kind> = { qos: 'number', signal: 'signal' }
const DISCONNECT = { timeoutMs: 'number', force: 'boolean' } as const
const TLS = { ca: 'authorities', caFile: 'string' } as const
const BOUNDS = { maxMessages: 'number', maxBytes: 'number' } as const

const EXPECTED: Record<Kind, string> = {
  string: 'a string',
  number: 'a number',
  boolean: 'true or false',
  function: 'a function',
  bytes: 'a string or a Uint8Array',
  key: 'a string, a Uint8Array or a KeyObject with a private key',
  authorities: 'PEM as a string or Uint8Array, or an array with at least one of these',
  signal: 'an AbortSignal',
  group: 'an object',
}

/** Checks names and types; the addon checks what the values mean. */
export function nativeOptions(options: ConnectOptions): NativeOptions {
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
    password: options.password === undefined ? undefined : bytes(options.password),
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

export function checkPublishOptions(options: PublishOptions): void {
  check(options, PUBLISH, '')
}

export function checkDisconnectOptions(options: { timeoutMs?: number; force?: boolean }): void {
  check(options, DISCONNECT, '')
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
    case 'signal':
      return value instanceof AbortSignal
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
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

function bytes(value: string | Uint8Array): Uint8Array {
  return typeof value === 'string' ? Buffer.from(value) : value
}
