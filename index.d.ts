/// <reference types="node" />

import type { EventEmitter } from 'node:events'
import type { KeyObject } from 'node:crypto'

/**
 * Connects to AWS IoT Core through a custom authorizer.
 *
 * Resolves when the server has accepted the connection. Rejects with an {@link MqttError} whose `code`, `stage`
 * and `hint` say what failed, where, and what to look at next; an option that cannot work is found before any
 * network traffic. An aborted call rejects with `signal.reason`.
 *
 * ```js
 * const connection = await connectWithCustomAuthorizer({
 *   endpoint: 'abc123-ats.iot.eu-west-1.amazonaws.com',
 *   authorizerName: 'FleetAuthorizer',
 *   username: 'thermostat-7',
 *   password: 'secret',
 * })
 * await connection.publish('fleet/thermostat-7/temperature', { celsius: 21.5 })
 * await connection.disconnect()
 * ```
 */
export function connectWithCustomAuthorizer(options: ConnectOptions): Promise<Connection>

/**
 * Signs a token as IoT Core's signing authorizers expect it: RSASSA-PKCS1-v1_5 with SHA-256 over exactly the
 * token's bytes, in standard base64. For backends, simulators and tests: the key belongs on no device.
 *
 * @param token The token value, without a line feed at its end.
 * @param privateKey An RSA key of 2,048 to 4,096 bits: PEM (PKCS#8 or PKCS#1), DER, or a `KeyObject`.
 * @throws {MqttError} `ERR_INVALID_OPTION` where the key is no such key.
 */
export function signToken(token: string, privateKey: string | Uint8Array | KeyObject): string

/**
 * Goes the way of a connection once, from DNS to CONNACK, and says at which step it fails, what was seen on the way, and
 * what to do next. Nothing secret is in what it gives.
 *
 * It sends no Will and tries once, so the authorizer's Lambda runs once. With a `clientId` it stops before CONNECT unless
 * `takeOver` is set, since whoever uses that client id now would be thrown out; it then begins no session anew and ends
 * none that was there, as long as `mqttVersion` is the one that the device uses. It publishes only with `probePublish`.
 * Aborting `signal` ends it at once, with what it has begun at the server (between CONNECT and CONNACK it can only close).
 *
 * What belongs to a connection that lasts does nothing here: `will`, `onMessage`, `logger`, `onAttempt`, `reconnect`,
 * `queue`, `receive`.
 *
 * ```js
 * const { ok, verdict, next } = await diagnose({ endpoint, authorizerName, username, password, topic: 'fleet/+/status' })
 * console.log(ok, verdict, next)
 * ```
 *
 * Never rejects for a step that fails. @throws {MqttError} `ERR_INVALID_OPTION` where an option cannot work.
 */
export function diagnose(options: DiagnoseOptions): Promise<Diagnosis>

export interface DiagnoseOptions extends ConnectOptions {
  /**
   * A filter to subscribe to after CONNACK, at QoS 1. With `takeOver` it is not where a session was there, since the
   * subscription would stay in it.
   */
  topic?: string
  /**
   * Whether CONNECT may throw out a live connection with `clientId`. Its session is resumed, and then lives for 7 days
   * without a connection, or for a longer `sessionExpirySeconds`. Default: false.
   */
  takeOver?: boolean
  /** Whether a small message is published to `topic` too, at QoS 1. Subscribers and rules get it. Default: false. */
  probePublish?: boolean
  /** The authorizer's public key: the token's signature is checked with it before anything is sent. */
  publicKey?: string | Uint8Array | KeyObject
  /** Called with each step as it is done. */
  onStep?(step: DiagnosisStep): void
}

export interface DiagnosisStep {
  readonly name:
    | 'credentials'
    | 'login'
    | 'signature'
    | 'dns'
    | 'tcp'
    | 'proxy'
    | 'tls'
    | 'alpn'
    | 'websocket'
    | 'connack'
    | 'subscribe'
    | 'publish'
  /** `skipped`: `seen` says why. */
  readonly outcome: 'passed' | 'failed' | 'skipped'
  readonly durationMs: number
  /** What was seen, in lines for people: addresses, certificates with names and dates, what CONNACK said. */
  readonly seen: ReadonlyArray<string>
  readonly error?: MqttError
}

export interface Diagnosis {
  /**
   * Whether no step failed. One address of several that does not answer is no failure, and a step that was skipped is
   * none either: look for `connack` with `passed` to know that the login works.
   */
  readonly ok: boolean
  /** One sentence. */
  readonly verdict: string
  /** What to look at next, the likeliest first; empty where there is nothing. */
  readonly next: string
  /**
   * For a refused login: AWS command lines that tell more, with secrets as variables. `test-invoke-authorizer` checks
   * neither ALPN, SNI nor iot:Connect.
   */
  readonly commands: ReadonlyArray<string>
  readonly steps: ReadonlyArray<DiagnosisStep>
  /** Legal but suspicious options. */
  readonly warnings: ReadonlyArray<string>
  /** Of the step that failed. */
  readonly error?: MqttError
}

/** What the authorizer gets to see. The names are those of AWS's `MqttConnectCustomAuthConfig`. Empty strings mean absent. */
export interface CustomAuthorizerCredentials {
  /** Name of the authorizer in IoT Core. Left out: the default authorizer of the account or domain. */
  authorizerName?: string
  /** User name. May hold a query part of its own (`name?key=value`); it is kept byte for byte. */
  username?: string
  /** Password: text, or bytes as they are. The Lambda gets it in base64. */
  password?: string | Uint8Array
  /** Name under which the authorizer expects the token (its `tokenKeyName`). Goes with `tokenValue` and a signature. */
  tokenKeyName?: string
  /** The token, as signed. */
  tokenValue?: string
  /** Signature of the token: base64, base64url or percent-encoded. */
  tokenSignature?: string
  /**
   * Instead of `tokenSignature`: the RSA private key to sign `tokenValue` with (see {@link signToken}).
   * For backends, simulators and tests; never put the key on a device.
   */
  tokenSigningKey?: string | Uint8Array | KeyObject
  /**
   * How token, key name and authorizer name are written into the user name.
   * - `auto`: percent-encoded only where a character would break the query; a JWT goes through untouched.
   * - `raw`: as they are. `percent`: everything but letters, digits and `-._~` is encoded.
   * @default 'auto'
   */
  tokenEncoding?: 'auto' | 'raw' | 'percent'
}

/** What `credentials` returns: everything that one attempt logs in with. */
export interface FreshCredentials extends CustomAuthorizerCredentials {
  /**
   * When they end: a `Date`, or milliseconds since the epoch as of `Date.now()`. The connection is renewed once, at 80
   * to 95 % of what is left of their life then, and not within 60 s of a connect. A number of seconds is refused.
   */
  expiresAt?: Date | number
}

/** One attempt to connect, as `credentials` sees it. */
export interface CredentialsAttempt {
  /** Counted from 1 through the life of the connection. */
  readonly number: number
  readonly clientId: string
  /** Why the attempt before failed, or the connection before was lost. */
  readonly lastError?: MqttError
  /** Aborted once nobody waits for the answer any more: too late, or the connection is being closed. */
  readonly signal: AbortSignal
}

/**
 * Trust, names and the client's own certificate. Verification cannot be turned off.
 *
 * Without `ca` and `caFile` the system's authorities are trusted, or Mozilla's list where the system has none. The
 * environment variables `SSL_CERT_FILE` (a PEM file) and `SSL_CERT_DIR` (a directory of them) move the system's, and
 * `NODE_EXTRA_CA_CERTS` (a PEM file) adds to them; they are read at the call, and an empty one counts as absent. A
 * proxy whose URL begins with `https:` is judged by the same authorities as the endpoint.
 */
export interface TlsOptions {
  /**
   * Certificate authorities to trust **instead of** the system's and of what the environment names: PEM text or bytes,
   * one or several.
   */
  ca?: string | Uint8Array | ReadonlyArray<string | Uint8Array>
  /** The same from a PEM file. With `ca` too, both count. */
  caFile?: string
  /**
   * The client's own X.509 certificate in PEM, intermediate ones after it; needs `key`. For a certificate beside the
   * authorizer, which IoT Core takes over MQTT on a domain configuration of type `CUSTOM_AUTH_X509`. A custom authorizer
   * alone needs none: on IoT Core's default endpoints a certificate with ALPN `mqtt` fails, hence a warning.
   */
  cert?: string | Uint8Array
  /**
   * The private key of `cert`, not encrypted: PKCS#8, PKCS#1 or SEC1 in PEM, or a `KeyObject`, such as
   * `crypto.createPrivateKey({ key, passphrase })` makes of an encrypted one. RSA of 2,048 to 4,096 bits, ECDSA P-256 or
   * P-384, or Ed25519. One that does not belong to `cert` is refused with `ERR_INVALID_OPTION`.
   */
  key?: string | Uint8Array | KeyObject
  /** The oldest version of TLS that is spoken. @default 'TLSv1.2' */
  minVersion?: 'TLSv1.2' | 'TLSv1.3'
  /**
   * Protocols that are offered by ALPN, the preferred one first, each of 1 to 255 bytes (RFC 7301); an empty list sends
   * no ALPN at all. On port 443 IoT Core runs a custom authorizer over MQTT by `mqtt` alone; over WebSocket it does not
   * take that, hence a warning.
   * @default ['mqtt'] with `transport: 'tls'`, none with `transport: 'websocket'`
   */
  alpnProtocols?: ReadonlyArray<string>
  /**
   * The name that is asked for (SNI) and that the server's certificate has to be for, without a port: for a custom
   * domain that is reached at another name or address.
   * @default endpoint
   */
  serverName?: string
  /**
   * Whether the secrets of this connection's TLS sessions are appended to the file that the environment variable
   * `SSLKEYLOGFILE` names, for debugging with Wireshark. Whoever has that file can read the connection, hence a warning.
   * Without it the variable is ignored.
   * @default false
   */
  keyLog?: boolean
}

/** The upgrade request of `transport: 'websocket'`. */
export interface WebSocketOptions {
  /** Path, and query where one is needed, percent-encoded, at most 8,192 bytes. @default '/mqtt', that of IoT Core */
  path?: string
  /**
   * Where authorizer name, token and signature travel. User name and password are in CONNECT in any case.
   * - `connect`: in the user name of CONNECT, as with `transport: 'tls'`.
   * - `query`: in the query of the request, the signature percent-encoded.
   * - `headers`: in headers of the request, the signature as it is in base64. What a header cannot hold, such as
   *   characters beyond ASCII, is refused.
   * @default 'connect'
   */
  credentialsIn?: 'connect' | 'query' | 'headers'
  /**
   * Further headers of the request; one named `host` replaces the default. Values are treated as secrets, but for
   * `accept`, `host`, `origin` and `user-agent`: no error, log record or inspection shows them. ASCII without line breaks, at most 8,192 bytes each. Refused with
   * `ERR_INVALID_OPTION`: a name that HTTP does not allow or that is given twice, and those that the handshake sets
   * itself (`connection`, `upgrade`, `sec-websocket-*`, `content-length`, `transfer-encoding`).
   */
  headers?: Readonly<Record<string, string>>
}

export interface ConnectOptions extends CustomAuthorizerCredentials {
  /**
   * Host name of the IoT data endpoint, without `https://` and port:
   * `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints it.
   */
  endpoint: string
  /** @default 443, the only port on which IoT Core's own endpoints run custom authorizers */
  port?: number
  /**
   * MQTT client id, at most 128 bytes on IoT Core. A second connection with the same id ends the first.
   * Left out: `client-<uuid>`, made for this connection.
   */
  clientId?: string
  /**
   * 5, or 3 for MQTT 3.1.1.
   * @default 5
   */
  mqttVersion?: 3 | 5
  /**
   * Asked before every attempt to connect, and before a renewal; what it returns is used as a whole for that attempt.
   * `authorizerName`, `username`, `tokenKeyName`, `tokenSigningKey` and `tokenEncoding` may stay in the options, and
   * are used where it returns none; `password`, `tokenValue` and `tokenSignature` beside it are refused.
   *
   * What it throws, or returns and cannot be used, fails the attempt with `ERR_CREDENTIALS`, whose `cause` is what was
   * thrown; the next attempt asks again. An error with `retryable: false`, other than an `MqttError`, ends the
   * connection; at a renewal it ends the renewal, and the connection lives until it is cut.
   *
   * ```js
   * credentials: async ({ signal }) => {
   *   const { token, signature, expiresAt } = await (await fetch(tokenUrl, { signal })).json()
   *   return { tokenValue: token, tokenSignature: signature, expiresAt }
   * }
   * ```
   */
  credentials?: (attempt: CredentialsAttempt) => FreshCredentials | Promise<FreshCredentials>
  /**
   * Milliseconds for `credentials` to answer; not counted in `connectTimeoutMs`. A later answer is ignored.
   * @default 30_000
   */
  credentialsTimeoutMs?: number
  /**
   * What carries MQTT. IoT Core runs custom authorizers over both, on port 443.
   * - `tls`: MQTT over TLS, agreed on by ALPN `mqtt`.
   * - `websocket`: MQTT over WebSocket over TLS (`wss`), with the subprotocol `mqtt` and without ALPN, for networks and
   *   proxies that let nothing but HTTPS through. What goes wrong on that way is `ERR_WEBSOCKET`.
   * @default 'tls'
   */
  transport?: 'tls' | 'websocket'
  /** With `transport: 'websocket'` alone. */
  websocket?: WebSocketOptions
  tls?: TlsOptions
  /**
   * The proxy to go through: `http://user:password@host:port`, user name and password percent-encoded. TLS is spoken
   * with the endpoint through the proxy's tunnel: the proxy learns name and port alone, and resolves the name.
   * - `http:` is a proxy that takes CONNECT; port 80 where none is given. So is text without `://`.
   * - `https:` is the same inside TLS of its own, for which the authorities of `tls` count; port 443.
   * - `socks5:` is SOCKS 5, and `socks5h:` the same; port 1080.
   *
   * HTTP's Basic authentication and that of SOCKS 5 are supported; NTLM, Kerberos and Digest are not.
   *
   * `'environment'` asks the environment variables, in lower case first: `HTTPS_PROXY`, else `ALL_PROXY`, unless
   * `NO_PROXY` names the endpoint; an empty one counts as absent, and without any there is no proxy. `NO_PROXY` is a
   * list, separated by commas or white space, of names (`example.com`, `.example.com` and `*.example.com` all mean it
   * and what is below it), of IP addresses and networks (`10.0.0.0/8`) for an endpoint that is an address, each also for
   * one port alone (`example.com:8443`), or `*` for never.
   *
   * What cannot be read is `ERR_INVALID_OPTION`, which never quotes it; what fails on the way is `ERR_PROXY` or
   * `ERR_PROXY_AUTH`, at the stage `proxy`. Left out: no proxy, whatever the environment says.
   */
  proxy?: string | URL | 'environment'
  /**
   * Seconds without traffic after which a ping is sent; 30 to 1,200 on IoT Core, which closes the connection after
   * 1.5 times that. With `limits: 'none'` 0 to 65,535, where 0 turns pings off.
   * @default 60
   */
  keepAliveSeconds?: number
  /**
   * Milliseconds to wait for the answer to a ping; then the connection is lost with `ERR_KEEP_ALIVE`. So a dead network
   * is found within `keepAliveSeconds` plus this, and within 30 s where something waits to be sent.
   * @default 10_000
   */
  pingTimeoutMs?: number
  /**
   * Milliseconds for the whole way from DNS to the server's CONNACK; then `ERR_CONNECT_TIMEOUT`.
   * @default 30_000
   */
  connectTimeoutMs?: number
  /**
   * Milliseconds to wait for the acknowledgement of a publish, subscribe or unsubscribe, from the moment it is
   * written, and anew when it is written again on another connection; then its promise rejects with
   * `ERR_ACK_TIMEOUT`, its outcome unknown.
   * @default 60_000
   */
  ackTimeoutMs?: number
  /**
   * Whether the session starts from nothing. On MQTT 5 the connection's own reconnects resume it then; on 3.1.1 they
   * cannot: subscriptions are made again, and what others published in the gap is lost. `false` resumes what the server
   * kept for this client id, leaves it there at `disconnect()`, and needs an explicit `clientId`.
   * @default true
   */
  cleanSession?: boolean
  /**
   * MQTT 5: seconds for which the server keeps the session when the connection is gone. With `cleanSession: true`,
   * `disconnect()` ends it at once. IoT Core allows up to 7 days (604,800).
   * @default 3_600
   */
  sessionExpirySeconds?: number
  /** What the server publishes when the connection is lost without a `disconnect()`. A renewal does not trigger it. */
  will?: Will
  /** MQTT 5: what CONNECT says beside all this. */
  connectProperties?: { userProperties?: UserProperties }
  /**
   * MQTT 5: whether topics that repeat are sent as a number, where the server takes aliases (IoT Core takes 8).
   * Aliases of the server are understood in any case.
   * @default false
   */
  topicAliases?: boolean
  /**
   * What follows when the first attempt fails.
   * - `fail`: the call rejects with its error.
   * - `retry`: it is made again, with the delays and bounds of `reconnect`, until it succeeds; the call resolves then.
   *   So too with `reconnect: false`, which is about what follows after that.
   * - `background`: the same, and the call resolves at once, with a connection in the state `connecting`; what is asked
   *   of it waits in `queue`.
   * @default 'fail'
   */
  initialConnect?: 'fail' | 'retry' | 'background'
  /**
   * How a connection that is lost is made again; `false`: it ends then. What was accepted survives: publishes at QoS 1
   * are sent again in order, subscriptions are made again where the server has lost them, and what is asked for
   * meanwhile waits in `queue`. A connection that once worked never ends by itself, but for `maxAttempts`,
   * `stopAfterRefusals` and credentials that fail for good.
   */
  reconnect?: false | ReconnectOptions
  /** Bounds what is accepted and not yet settled, with a connection or without. */
  queue?: {
    /** @default 10_000 */
    maxMessages?: number
    /** @default 67_108_864, 64 MiB */
    maxBytes?: number
    /**
     * What a call meets for which there is no room. `reject`: it rejects with `ERR_QUEUE_FULL`. `drop-oldest`: the
     * oldest publish that is not on its way rejects with it instead, as for readings of which the latest count.
     * @default 'reject'
     */
    whenFull?: 'reject' | 'drop-oldest'
    /**
     * What a publish at QoS 0 meets while there is no connection. `reject`: `ERR_NOT_CONNECTED`. `queue`: it waits.
     * @default 'reject'
     */
    qos0?: 'queue' | 'reject'
  }
  /**
   * Bounds what has arrived and was not yet consumed by the app. QoS 1 messages beyond it stay with the server;
   * see the README on what happens to QoS 0.
   */
  receive?: {
    /** On MQTT 5 this is the Receive Maximum too. 1 to 65,535. @default 1_000 */
    maxMessages?: number
    /** The largest packet that is accepted as well. @default 16_777_216, 16 MiB */
    maxBytes?: number
  }
  /**
   * Whether the app acknowledges each QoS 1 message itself with `message.ack()`. Otherwise its PUBACK leaves when
   * every handler has returned, or the promise it returned has settled.
   * @default false
   */
  manualAck?: boolean
  /** Called for every message, as a listener of the `message` event that is there from the start. */
  onMessage?: MessageHandler
  /**
   * `aws-iot-core`: IoT Core's limits are kept before anything is sent (payload 128 KiB, topic 256 bytes and
   * 7 slashes, client id 128 bytes, keep-alive 30 to 1,200 s, 100 unacknowledged publishes, 8 filters a packet,
   * 50 subscriptions, 100 publishes and 512 KiB a second). `none`: only those of MQTT and what the server announced.
   * An object: those of IoT Core, with single ones changed or turned off.
   * @default 'aws-iot-core'
   */
  limits?: 'aws-iot-core' | 'none' | LimitOptions
  /**
   * What reaches `logger` and the `log` event. Each level holds those before it:
   * - `error`: the end of the connection. `warn`: attempts that failed, what was dropped or lost.
   * - `info`: each attempt and its success. `debug`: TLS and CONNACK. `trace`: every packet by kind, id and size.
   *
   * Warnings about suspicious options and credentials come at every level, `none` included, each of them once.
   * @default 'none'
   */
  logLevel?: LogLevel
  /**
   * Called when an attempt to connect has ended: without `error` where it succeeded. `nextDelayMs` is how long it takes
   * until the next begins; undefined where none follows.
   */
  onAttempt?: (attempt: AttemptReport) => void
  /**
   * Receives log records, those of `logLevel` and the warnings about options and credentials. None holds a secret or a
   * payload, but for what an error of your own handlers quotes.
   */
  logger?: (record: LogRecord) => void
  /** Cancels connecting. Once connected it has no effect; use `disconnect()`. */
  signal?: AbortSignal
}

/**
 * When attempts follow each other. A delay is `minDelayMs` and a random part below a bound that doubles from
 * `minDelayMs` to `maxDelayMs`. Refused logins and certificates are retried at the bound of `maxDelayMs` at once, a
 * close before CONNACK starts higher: IoT Core answers a throttled Lambda and a wrong password alike, and a device
 * without a clock sees every certificate as not yet valid. Under IoT Core's limits two CONNECTs are a second apart.
 */
export interface ReconnectOptions {
  /** @default 1_000 */
  minDelayMs?: number
  /** @default 120_000 */
  maxDelayMs?: number
  /** A connection that has lasted so long was a success: delays start from the beginning after it. @default 30_000 */
  stableAfterMs?: number
  /**
   * The first delay after such a connection is random, up to this. Fleets that lose their server at the same moment set
   * it to the seconds over which they may come back.
   * @default 2_000
   */
  spreadMs?: number
  /** Ends the connection after so many attempts in a row that led to no stable one. @default none */
  maxAttempts?: number
  /**
   * Ends the connection after so many refused logins or certificates in a row. A close before CONNACK counts: so IoT
   * Core refuses most logins on 3.1.1. A server that has too much to do (0x97, 3.1.1: 3) refuses nobody.
   * @default none
   */
  stopAfterRefusals?: number
  /**
   * Renews the connection in good order after 80 to 95 % of these seconds, before the authorizer's
   * `disconnectAfterInSeconds` cuts it. 75 to 604,800. @default none: by `expiresAt` of `credentials` alone
   */
  renewAfterSeconds?: number
}

/** Single limits of IoT Core, changed or, by `false`, turned off. */
export interface LimitOptions {
  /** Messages in and out; what exceeds it is discarded by IoT Core without a word, so it waits here. @default 100 */
  publishesPerSecond?: number | false
  /** Bytes of messages in and out. @default 524_288 */
  bytesPerSecond?: number | false
  /** QoS 1 publishes that wait for their acknowledgement at a time. @default 100 */
  inFlight?: number | false
  /** Topic filters; one more rejects with `ERR_LIMIT`. @default 50 */
  subscriptions?: number | false
}

export interface AttemptReport {
  /** Counted from 1 through the life of the connection. */
  readonly number: number
  readonly error?: MqttError
  readonly nextDelayMs?: number
}

export interface Will {
  topic: string
  payload: Payload
  /** @default 1 */
  qos?: QoS
  /** @default false */
  retain?: boolean
  /** MQTT 5: how long the server waits with it; a connection of the same session in that time cancels it. @default 0 */
  delaySeconds?: number
  /** MQTT 5. */
  properties?: PublishProperties
}

/** Keys may repeat: then as an array of pairs, or with an array of values. */
export type UserProperties =
  Readonly<Record<string, string | ReadonlyArray<string>>> | ReadonlyArray<readonly [string, string]>

/** MQTT 5: what a message says about itself. */
export interface PublishProperties {
  contentType?: string
  /** Where an answer is to go. */
  responseTopic?: string
  /** What an answer is to carry, so that it can be told apart. */
  correlationData?: string | Uint8Array
  userProperties?: UserProperties
  /** Whether the payload is UTF-8 text. */
  payloadFormat?: 'bytes' | 'utf8'
}

/** MQTT 5: what the sender of a message, and the server, say about it. */
export interface MessageProperties {
  readonly contentType?: string
  readonly responseTopic?: string
  readonly correlationData?: Buffer
  /** In the sender's order. */
  readonly userProperties: ReadonlyArray<readonly [string, string]>
  readonly payloadFormat?: 'bytes' | 'utf8'
  /** Seconds that were left of its life when the server sent it. */
  readonly expirySeconds?: number
}

export type LogLevel = 'none' | 'error' | 'warn' | 'info' | 'debug' | 'trace'

/** The fields are stable; the wording of `message` is not. */
export interface LogRecord {
  level: Exclude<LogLevel, 'none'>
  message: string
  /** Milliseconds since the epoch. */
  time: number
  clientId: string
  /** With `trace`: the packet that the record is about. */
  packet?: PacketRecord
}

/** A packet as the log shows it: nothing of its content. */
export interface PacketRecord {
  direction: 'sent' | 'received'
  /** Its name in MQTT, such as `PUBLISH`. */
  kind: string
  /** Its packet id; undefined where its kind has none, as a PUBLISH at QoS 0. */
  id?: number
  /** The whole of it, its fixed header included. */
  bytes: number
}

/** What may be sent: text as UTF-8, bytes as they are, a plain object or array as JSON. */
export type Payload = string | ArrayBuffer | SharedArrayBuffer | ArrayBufferView | object

/** 2 does not exist here: IoT Core has none. */
export type QoS = 0 | 1

export interface Message {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  /** Whether the server sent it because it was stored on the topic. */
  readonly retain: boolean
  /** Whether the server marks it as sent before. IoT Core may redeliver without the mark. */
  readonly dup: boolean
  /** MQTT 5; undefined where it has none. */
  readonly properties?: MessageProperties
  /** With `manualAck`: sends the PUBACK. Later calls, and calls after the connection is gone, do nothing. */
  ack(): void
}

/**
 * A promise that it returns delays the PUBACK until it settles. PUBACKs leave in order of receipt, so a slow handler
 * holds back those behind it. What it throws is logged, or without a log becomes a process warning, and stops nobody.
 */
export type MessageHandler = (message: Message) => void | Promise<void>

export interface PublishOptions {
  /** 1: resolves when the server has acknowledged. 0: resolves when the bytes have left for the network. @default 1 */
  qos?: QoS
  /** Whether the server stores it for later subscribers (needs iot:RetainPublish). @default false */
  retain?: boolean
  /**
   * Milliseconds after which it is not worth sending: it rejects with `ERR_EXPIRED` where it still waits then. On
   * MQTT 5 the server keeps to it too, in whole seconds.
   */
  expiresInMs?: number
  /** MQTT 5. */
  properties?: PublishProperties
  /**
   * Aborted while the message waits: it is withdrawn and never sent. Aborted later: the promise rejects with
   * `signal.reason`, and the message may still be delivered.
   */
  signal?: AbortSignal
}

export interface PublishResult {
  /** 0 at QoS 0. */
  packetId: number
  /** MQTT 5: 0, or 16 where nobody is subscribed. */
  reasonCode: number
  /** MQTT 5: the server's own words, where it has any. */
  reasonString?: string
}

export interface RequestOptions extends PublishOptions {
  /**
   * Where the answer is to come; the policy has to allow a subscription to it. It is subscribed to once, and stays so
   * for the life of the connection.
   * @default '<clientId>/responses'
   */
  responseTopic?: string
  /**
   * Milliseconds from the call to the answer; then `ERR_NO_RESPONSE`, and what still waits to be sent is not sent.
   * @default 30_000
   */
  timeoutMs?: number
}

export interface SubscribeOptions {
  /** The highest QoS in which messages are delivered. @default 1 */
  qos?: QoS
  /** See {@link PublishOptions.signal}. */
  signal?: AbortSignal
}

/**
 * The use of one or several topic filters. Without a handler it is an async iterable of the messages that match, which
 * wait for the loop; where a `message` listener or `onMessage` gets them anyway, only from the loop's beginning on:
 *
 * ```js
 * const subscription = await connection.subscribe('fleet/+/temperature')
 * for await (const message of subscription) console.log(message.topic, message.payload.toString())
 * ```
 * Leaving the loop unsubscribes. A lost connection does not end it: the subscription is made again where the server has
 * lost it, and only where that is refused the loop throws. A message counts as consumed when the loop asks for the next one. When the connection
 * ends with an error, the loop throws it. Messages that wait and that nobody reads are not acknowledged, and end the
 * credit of `receive`: a process warning (`UnreadSubscriptionWarning`) says so.
 */
export interface Subscription extends AsyncIterable<Message>, AsyncDisposable {
  /** What the server granted, in the order asked. */
  readonly granted: ReadonlyArray<{ readonly filter: string; readonly qos: QoS }>
  /** MQTT 5: the server's own words, where it had any. */
  readonly reasonString: string | undefined
  /** Ends this use; the server is told when it was the last one of a filter. Safe to call twice. */
  unsubscribe(): Promise<void>
}

export interface UnsubscribeResult {
  /** MQTT 5: the server's code for each filter. 3.1.1 has none: 0. */
  readonly reasonCodes: ReadonlyArray<number>
  /** MQTT 5: the server's own words, where it has any. */
  readonly reasonString?: string
}

/** What the server granted in CONNACK. */
export interface Negotiated {
  readonly mqttVersion: 3 | 5
  readonly keepAliveSeconds: number
  /** How many QoS 1 publishes may wait for their acknowledgement at a time. */
  readonly inFlight: number
  /** Bytes of a whole packet; undefined where the server named none. */
  readonly maximumPacketSize?: number
  readonly maximumQoS: QoS
  readonly retainAvailable: boolean
  /** Seconds; undefined on 3.1.1. */
  readonly sessionExpirySeconds?: number
  /** How many topic aliases the server takes; 0 on 3.1.1. */
  readonly topicAliasMaximum: number
  /** The protocol agreed on in TLS: `mqtt` on IoT Core, undefined where the server selects none, as over WebSocket. */
  readonly alpnProtocol?: string
}

export interface CloseReason {
  /** Why the connection ended; undefined after `disconnect()`. */
  readonly error?: MqttError
  /** Operations that were accepted and could not be completed: their promises rejected with `ERR_CLOSED` or `error`. */
  readonly unsettled: number
}

export interface Stats {
  /** Attempts to connect so far. */
  readonly attempts: number
  /** Milliseconds since the connection was established, or made again; 0 while there is none. */
  readonly uptimeMs: number
  readonly messagesSent: number
  readonly messagesReceived: number
  readonly bytesSent: number
  readonly bytesReceived: number
  /** Written and not yet acknowledged. */
  readonly inFlight: number
  /** Accepted and not yet written. */
  readonly queued: number
  /** Milliseconds for which something waited to keep IoT Core's rates (see `limits`). */
  readonly pacedMs: number
  /** Messages that were received and dropped: QoS 0 beyond `receive`, and those that nobody listened for. */
  readonly dropped: number
  /** Round trip of the last ping in milliseconds; undefined before the first. */
  readonly pingMs?: number
  /** Why the last attempt failed, or the connection was last lost. */
  readonly lastError?: MqttError
}

/**
 * `connecting`: never connected yet. `reconnecting`: the connection is lost and being made again. `disconnecting`: from
 * `disconnect()` on. `closed`: the end.
 */
export type ConnectionState = 'connecting' | 'connected' | 'reconnecting' | 'disconnecting' | 'closed'

/**
 * Of `connect`, `interrupt`, `resume` and `closed` the latest is replayed once, to the first listener that comes later.
 * The same is published on `node:diagnostics_channel`, see the README.
 */
export interface ConnectionEvents {
  /** Connected for the first time. */
  connect: [{ sessionPresent: boolean; negotiated: Negotiated }]
  /** The connection is lost, and is being made again. */
  interrupt: [{ error: MqttError }]
  /** It is there again, `downMs` milliseconds later. */
  resume: [{ sessionPresent: boolean; negotiated: Negotiated; downMs: number }]
  /** Every message, whether or not a handler matches it. */
  message: [Message]
  /** The end; nothing follows. */
  closed: [CloseReason]
  log: [LogRecord]
}

/**
 * A connection. The process stays alive while it is open or being made again, as with a socket; `unref()` lets it go.
 */
export interface Connection extends EventEmitter<ConnectionEvents>, AsyncDisposable {
  readonly clientId: string
  readonly state: ConnectionState
  /** Whether the server resumed a session that it had kept, the latest time. */
  readonly sessionPresent: boolean
  /** What the latest CONNACK granted; undefined before the first (`initialConnect: 'background'`). */
  readonly negotiated: Negotiated | undefined

  /**
   * Sends a message.
   *
   * While the connection is lost it waits, and goes out in order once there is one again. Rejects with
   * `ERR_INVALID_TOPIC`, `ERR_PAYLOAD_TOO_LARGE`, `ERR_LIMIT` or `ERR_QUEUE_FULL` before anything is sent, with
   * `ERR_PUBLISH_REJECTED` where the server says no, with `ERR_ACK_TIMEOUT` where it says nothing, with
   * `ERR_SUSPECTED_POLICY` where it keeps closing the connection for this very message, and with the connection's error
   * where that ends first. The bytes are copied before the call returns.
   */
  publish(topic: string, payload: Payload, options?: PublishOptions): Promise<PublishResult>
  /** The form of the AWS SDK's `MqttClientConnection`. */
  publish(topic: string, payload: Payload, qos: number, retain?: boolean): Promise<{ packet_id?: number }>

  /**
   * Subscribes to one or several topic filters; resolves when the server has granted all of them. More than 8 are
   * sent in several packets. A refused filter rejects with `ERR_SUBSCRIBE_REJECTED`, and the granted ones are
   * released. With a handler, messages go to it; without, the Subscription is an async iterable of them.
   */
  subscribe(
    filter: string | ReadonlyArray<string>,
    options?: SubscribeOptions,
    handler?: MessageHandler,
  ): Promise<Subscription>
  /** The form of the AWS SDK's `MqttClientConnection`: `error_code` is 0, and a refused filter rejects. */
  subscribe(
    topic: string,
    qos: number,
    onMessage?: (topic: string, payload: ArrayBuffer, dup: boolean, qos: number, retain: boolean) => void,
  ): Promise<{ packet_id?: number; topic: string; qos: number; error_code: number }>

  /**
   * MQTT 5: publishes a request and resolves with the answer, the message on the response topic that carries the
   * request's correlation data. Rejects as `publish` does, and with `ERR_NO_RESPONSE` after `timeoutMs`.
   */
  request(
    topic: string,
    payload: Payload,
    options?: RequestOptions,
  ): Promise<Message & { readonly properties: MessageProperties }>

  /** Ends every use of these filters on this connection. */
  unsubscribe(
    filter: string | ReadonlyArray<string>,
    options?: { signal?: AbortSignal },
  ): Promise<UnsubscribeResult & { packet_id?: number }>

  /**
   * Ends the connection: waits up to `timeoutMs` for what was accepted to be acknowledged, sends DISCONNECT and closes.
   * What is left rejects with `ERR_CLOSED`. Without a connection it ends at once. Resolves when the connection is
   * closed, whatever happens; safe to call twice.
   */
  disconnect(options?: {
    /** @default 5_000 */
    timeoutMs?: number
    /** Does not wait for anything. @default false */
    force?: boolean
  }): Promise<void>

  /**
   * Settles when the connection has ended, for whatever reason. Never rejects. An end with an error of which nobody
   * learns, here or otherwise, becomes a process warning (`ConnectionClosedWarning`).
   */
  readonly closed: Promise<CloseReason>
  stats(): Stats
  /** Keeps the process alive while the connection is open: the initial state. */
  ref(): this
  /** Lets the process end although the connection is open. */
  unref(): this
}

/** Where on the way a failure happened, in the order of that way. `proxy`: on the way to it, or in its answer. */
export type Stage =
  | 'options'
  | 'credentials'
  | 'dns'
  | 'tcp'
  | 'proxy'
  | 'tls'
  | 'websocket'
  | 'connack'
  | 'session'
  | 'operation'

/** Stable codes to branch on. The README has a table of what each means and what to do. */
export type ErrorCode =
  | 'ERR_INVALID_OPTION'
  | 'ERR_INCOMPLETE_TOKEN'
  | 'ERR_CREDENTIALS'
  | 'ERR_DNS'
  | 'ERR_TCP'
  | 'ERR_PROXY'
  | 'ERR_PROXY_AUTH'
  | 'ERR_TLS'
  | 'ERR_TLS_CERTIFICATE'
  | 'ERR_ALPN'
  | 'ERR_WEBSOCKET'
  | 'ERR_CONNECT_TIMEOUT'
  | 'ERR_NOT_AUTHORIZED'
  | 'ERR_CLOSED_BEFORE_CONNACK'
  | 'ERR_CONNECT_REFUSED'
  | 'ERR_PROTOCOL'
  | 'ERR_KEEP_ALIVE'
  | 'ERR_WRITE_STALLED'
  | 'ERR_CONNECTION_LOST'
  | 'ERR_NOT_CONNECTED'
  | 'ERR_SUSPECTED_POLICY'
  | 'ERR_SESSION_TAKEN_OVER'
  | 'ERR_SERVER_DISCONNECT'
  | 'ERR_PAYLOAD_TOO_LARGE'
  | 'ERR_INVALID_TOPIC'
  | 'ERR_LIMIT'
  | 'ERR_QUEUE_FULL'
  | 'ERR_EXPIRED'
  | 'ERR_ACK_TIMEOUT'
  | 'ERR_NO_RESPONSE'
  | 'ERR_PUBLISH_REJECTED'
  | 'ERR_SUBSCRIBE_REJECTED'
  | 'ERR_CLOSED'
  | 'ERR_INTERNAL'

/**
 * The one error class. It never holds a password, that of a proxy included, token, signature, key or value of a header.
 * Its `cause`, where there is one, is the error underneath, in the words of the system or of TLS; with `ERR_CREDENTIALS`
 * it is what `credentials` threw.
 */
export class MqttError extends Error {
  readonly name: 'MqttError'
  readonly code: ErrorCode
  readonly stage: Stage
  /** What to look at next, the likeliest first; empty where the message says it all. */
  readonly hint: string
  /**
   * Whether trying again later can succeed without a change. Refusals are retryable too, since IoT Core answers a
   * throttled Lambda and a wrong password alike: wait between tries, and give up after some.
   */
  readonly retryable: boolean
  /**
   * What was suspicious, if legal, in options and credentials, where anything was: a JWT that has expired, a signature
   * that no RSA key makes, another port than IoT Core has, and the like. `logger` gets it too, also where nothing fails.
   */
  readonly warnings?: ReadonlyArray<string>
  /** The server's reason or return code, where it gave one. */
  readonly reasonCode?: number
  /** The server's own words, where it gave any. */
  readonly reasonString?: string
}
