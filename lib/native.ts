// The addon: where it lies, and its surface. What the records of a batch mean is described in src/outbox.rs.
import type { ErrorCode, Stage } from '../index.js'

export interface Native {
  Environment: new (onBell: () => void) => NativeEnvironment
  connectWithCustomAuthorizer(
    environment: NativeEnvironment,
    index: number,
    options: NativeOptions,
  ): NativeConnection | NativeFailure
  signToken(token: string, privateKey: Uint8Array): string | NativeFailure
  diagnose(options: NativeOptions, probes: NativeProbes): NativeDiagnosis | NativeFailure
}

export interface NativeProbes {
  /** Why CONNECT is not sent; absent where it is. */
  skipConnect?: string
  keepSession: boolean
  topic?: string
  publish: boolean
}

/** One that has not begun yet: first comes the answer of `credentials()`, where the app has that. */
export interface NativeDiagnosis extends CredentialsTaker {
  readonly credentialsTimeoutMs: number
  /** Instead of an answer. */
  credentialsOverdue(): void
  /** Why there is nothing to log in with. */
  readonly credentialsFailure: NativeFailure | null
  /** Until it begins. */
  readonly login: NativeLogin
  readonly signedToken: NativeSignedToken | null
  start(signatureIsVerified: boolean, onPassage: (passage: NativePassage) => void): NativeFailure | null
  /** The end is told as ever. */
  stop(): void
}

/** What asks the app for credentials. */
export interface CredentialsTaker {
  readonly clientId: string
  credentials(attempt: number, credentials: NativeCredentials, expiresAt?: number, expiresInMs?: number): void
  credentialsFailed(attempt: number, message: string, retryable: boolean): void
}

/** What is known of a login without being told what is secret in it; the user name may be. */
export interface NativeLogin {
  authorizerName?: string
  username?: string
  hasPassword: boolean
  hasToken: boolean
  warnings: string[]
}

/** A token as it is sent, the signature in base64. */
export interface NativeSignedToken {
  value: string
  signature: string
}

/** A part of the way, or with the name `end` that there is no more. */
export interface NativePassage {
  name: string
  tookMs: number
  seen: string[]
  failure?: NativeFailure
  /** The failure is a refusal, and what was refused may be a login. */
  refused: boolean
  skipped?: string
}

export interface NativeEnvironment {
  /** `room` gets the words. */
  drain(room: Buffer): NativeBatch | null
  hold(hold: boolean): void
}

export interface NativeBatch {
  /** The words where there was too little room for them. */
  words?: Uint32Array
  /** Absent where the records have none, like the values. */
  arena?: Buffer
  values?: readonly unknown[]
}

export interface NativeConnection extends CredentialsTaker {
  /** The first `count` words of a batch, see lib/inbox.ts. Gives the messages that are not accepted. */
  publishBatch(words: Uint32Array, count: number, bytes: Uint8Array): NativeRefusal[] | null
  publish(
    token: number,
    topic: string,
    payload: Uint8Array,
    qos: number,
    retain: boolean,
  ): NativeFailure | null
  publishWith(
    token: number,
    topic: string,
    payload: Uint8Array,
    qos: number,
    retain: boolean,
    properties: NativeProperties,
    expiresInMs: number | undefined,
  ): NativeFailure | null
  subscribe(token: number, filters: string[], ids: Uint32Array, qos: Uint8Array): NativeFailure | null
  unsubscribe(token: number, filters: string[]): NativeFailure | null
  withdraw(token: number): void
  matches(filter: string, topic: string): boolean
  consumed(from: number, count: number): void
  disconnect(timeoutMs: number): void
  flush(): void
  stats(): NativeStats
}

export interface NativeCredentials {
  authorizerName?: string
  username?: string
  password?: Uint8Array
  tokenKeyName?: string
  tokenValue?: string
  tokenSignature?: string
  tokenSigningKey?: Uint8Array
  tokenEncoding?: string
}

export interface NativeProperties {
  payloadFormat?: number
  messageExpirySeconds?: number
  contentType?: string
  responseTopic?: string
  correlationData?: Buffer
  /** Key, value, key, value. */
  userProperties: string[]
}

export interface NativeWill {
  topic: string
  payload: Uint8Array
  qos: number
  retain: boolean
  delaySeconds: number
  properties?: NativeProperties
}

export interface NativeReconnect {
  never: boolean
  minDelayMs?: number
  maxDelayMs?: number
  stableAfterMs?: number
  spreadMs?: number
  maxAttempts?: number
  stopAfterRefusals?: number
  renewAfterSeconds?: number
}

export interface NativeWebSocket {
  path?: string
  credentialsIn?: string
  /** Name, value, name, value. */
  headers: string[]
}

export interface NativeTls {
  ca?: Uint8Array[]
  caFile?: string
  cert?: Uint8Array
  key?: Uint8Array
  minVersion?: string
  alpnProtocols?: string[]
  serverName?: string
  keyLog?: boolean
  /** What moves the system's authorities, and adds to them. */
  sslCertFile?: string
  sslCertDir?: string
  extraCaFile?: string
}

/** As it is read, not as a URL writes it. */
export interface NativeProxy {
  scheme: string
  host: string
  port?: number
  username?: string
  password?: string
}

export interface NativeOptions {
  endpoint: string
  port?: number
  clientId?: string
  mqttVersion?: number
  credentials: NativeCredentials
  asksCredentials: boolean
  credentialsTimeoutMs?: number
  transport?: string
  websocket?: NativeWebSocket
  tls: NativeTls
  proxy?: NativeProxy
  keepAliveSeconds?: number
  pingTimeoutMs?: number
  connectTimeoutMs?: number
  ackTimeoutMs?: number
  cleanSession?: boolean
  sessionExpirySeconds?: number
  will?: NativeWill
  userProperties: string[]
  topicAliases?: boolean
  initialConnect?: string
  reconnect: NativeReconnect
  queueMaxMessages?: number
  queueMaxBytes?: number
  queueWhenFull?: string
  queueQos0?: string
  receiveMaxMessages?: number
  receiveMaxBytes?: number
  limits?: string
  publishesPerSecond?: number | boolean
  bytesPerSecond?: number | boolean
  inFlight?: number | boolean
  subscriptions?: number | boolean
  logLevel?: string
}

export interface NativeFailure {
  code: ErrorCode
  stage: Stage
  message: string
  hint: string
  retryable: boolean
  reasonCode?: number
  reasonString?: string
  cause?: string
  /** What looked suspicious in options and credentials. */
  warnings?: string[]
}

/** A message of a batch that was not accepted. */
export interface NativeRefusal {
  token: number
  failure: NativeFailure
}

export interface NativeConnected {
  mqttVersion: 3 | 5
  sessionPresent: boolean
  keepAliveSeconds: number
  inFlight: number
  maximumPacketSize?: number
  maximumQos: 0 | 1
  retainAvailable: boolean
  sessionExpirySeconds?: number
  topicAliasMaximum: number
  alpnProtocol?: string
}

export interface NativeStats {
  messagesSent: number
  messagesReceived: number
  bytesSent: number
  bytesReceived: number
  inFlight: number
  queued: number
  dropped: number
  pacedMs: number
  pingMicros: number
}

export const native: Native = load()

/** The binary beside this package, as a checkout and the one-platform package have it; else the platform's package. */
function load(): Native {
  const failures: Error[] = []
  for (const target of targets()) {
    for (const path of [
      `../custom-authorizer-connect.${target}.node`,
      `custom-authorizer-connect-${target}`,
    ]) {
      try {
        return require(path) as Native
      } catch (error) {
        failures.push(error as Error)
      }
    }
  }
  // What is there and cannot be loaded says more than what is not there.
  const telling = failures.filter((failure) => (failure as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND')
  throw new AggregateError(
    telling.length > 0 ? telling : failures,
    `custom-authorizer-connect has no binary for ${targets().join(' or ')} that can be loaded here` +
      (telling.length > 0 ? `: ${telling[0].message}` : '. In a checkout, `npm run build` makes it.'),
  )
}

/** Names of this platform's binaries. On Linux the loader finds out which C library there is. */
function targets(): string[] {
  const target = `${process.platform}-${process.arch}`
  switch (process.platform) {
    case 'linux':
      return [`${target}-gnu`, `${target}-musl`]
    case 'win32':
      return [`${target}-msvc`]
    default:
      return [target]
  }
}
