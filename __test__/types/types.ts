// Compiled, never run: every call form of the public contract, and what it must refuse.
import { createPrivateKey } from 'node:crypto'
import {
  MqttError,
  connectWithCustomAuthorizer,
  signToken,
  type AttemptReport,
  type CloseReason,
  type ConnectOptions,
  type Connection,
  type ConnectionState,
  type CredentialsAttempt,
  type ErrorCode,
  type FreshCredentials,
  type LimitOptions,
  type LogRecord,
  type PacketRecord,
  type Message,
  type MessageHandler,
  type MessageProperties,
  type Negotiated,
  type PublishProperties,
  type PublishResult,
  type ReconnectOptions,
  type Stage,
  type Stats,
  type Subscription,
  type TlsOptions,
  type UnsubscribeResult,
  type WebSocketOptions,
  type Will,
} from 'custom-authorizer-connect'

/** Fails to compile where the types differ. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const same = <A, B>(answer: Same<A, B>): boolean => answer

export async function connecting(): Promise<void> {
  const least = connectWithCustomAuthorizer({ endpoint: 'host' })
  same<typeof least, Promise<Connection>>(true)

  const all: ConnectOptions = {
    endpoint: 'host',
    port: 443,
    clientId: 'me',
    mqttVersion: 3,
    authorizerName: 'Auth',
    username: 'user',
    password: Buffer.from([0xff]),
    tokenKeyName: 'key',
    tokenValue: 'token',
    tokenSignature: 'c2ln',
    tokenEncoding: 'percent',
    credentials: async ({ number }) => ({ password: String(number) }),
    credentialsTimeoutMs: 30_000,
    transport: 'websocket',
    websocket: { path: '/mqtt', credentialsIn: 'query', headers: { host: 'host' } },
    tls: { ca: ['-----BEGIN CERTIFICATE-----', new Uint8Array()], caFile: 'ca.pem' },
    proxy: 'http://user:pass@proxy:3128',
    keepAliveSeconds: 60,
    pingTimeoutMs: 10_000,
    connectTimeoutMs: 30_000,
    ackTimeoutMs: 60_000,
    cleanSession: false,
    sessionExpirySeconds: 3_600,
    will: { topic: 'gone', payload: 'text' },
    connectProperties: { userProperties: { sdk: 'mine', tag: ['a', 'b'] } },
    topicAliases: true,
    initialConnect: 'fail',
    reconnect: {},
    queue: { maxMessages: 1, maxBytes: 1, whenFull: 'drop-oldest', qos0: 'queue' },
    receive: { maxMessages: 1, maxBytes: 1 },
    manualAck: true,
    onMessage: (message) => message.ack(),
    limits: 'none',
    logLevel: 'trace',
    onAttempt: (attempt) => same<typeof attempt, AttemptReport>(true),
    logger: ({ level, message, time, clientId, packet }) => {
      same<typeof packet, PacketRecord | undefined>(true)
      console.log(level, message, time, clientId, packet?.direction, packet?.kind, packet?.id, packet?.bytes)
    },
    signal: AbortSignal.timeout(1_000),
  }
  await connectWithCustomAuthorizer(all)
  await connectWithCustomAuthorizer({ endpoint: 'host', tokenSigningKey: createPrivateKey('pem') })
  await connectWithCustomAuthorizer({ endpoint: 'host', tokenSigningKey: 'pem', password: 'text' })
  await connectWithCustomAuthorizer({ endpoint: 'host', tls: { ca: 'pem' } })

  // @ts-expect-error -- an endpoint is required.
  await connectWithCustomAuthorizer({})
  // @ts-expect-error -- and the options are.
  await connectWithCustomAuthorizer()
  // @ts-expect-error -- 3 is MQTT 3.1.1.
  await connectWithCustomAuthorizer({ endpoint: 'host', mqttVersion: 4 })
  // @ts-expect-error -- a misspelt option is found.
  await connectWithCustomAuthorizer({ endpoint: 'host', clientID: 'me' })
  // @ts-expect-error -- verification cannot be turned off.
  await connectWithCustomAuthorizer({ endpoint: 'host', tls: { rejectUnauthorized: false } })
  // @ts-expect-error -- there is no such level.
  await connectWithCustomAuthorizer({ endpoint: 'host', logLevel: 'fatal' })
}

export async function roads(): Promise<void> {
  const endpoint = 'host'
  const websocket: WebSocketOptions = {
    path: '/mqtt?key=value',
    credentialsIn: 'headers',
    headers: { host: 'another', 'x-key': 'value' } as const,
  }
  await connectWithCustomAuthorizer({ endpoint, transport: 'websocket', websocket })
  await connectWithCustomAuthorizer({ endpoint, transport: 'websocket', websocket: {} })
  await connectWithCustomAuthorizer({ endpoint, transport: 'tls' })

  const tls: TlsOptions = {
    ca: 'pem',
    caFile: 'ca.pem',
    cert: 'pem',
    key: createPrivateKey('pem'),
    minVersion: 'TLSv1.3',
    alpnProtocols: ['mqtt', 'x-amzn-http-ca'] as const,
    serverName: 'domain.example',
    keyLog: true,
  }
  await connectWithCustomAuthorizer({ endpoint, tls })
  await connectWithCustomAuthorizer({ endpoint, tls: { cert: Buffer.from('pem'), key: Buffer.from('pem') } })
  await connectWithCustomAuthorizer({ endpoint, tls: { cert: 'pem', key: 'pem', alpnProtocols: [] } })

  await connectWithCustomAuthorizer({ endpoint, proxy: new URL('socks5://proxy') })
  await connectWithCustomAuthorizer({ endpoint, proxy: 'environment' })

  // @ts-expect-error -- there is no such transport.
  await connectWithCustomAuthorizer({ endpoint, transport: 'wss' })
  // @ts-expect-error -- and no such place.
  await connectWithCustomAuthorizer({ endpoint, websocket: { credentialsIn: 'body' } })
  // @ts-expect-error -- a header has one value.
  await connectWithCustomAuthorizer({ endpoint, websocket: { headers: { cookie: ['a', 'b'] } } })
  // @ts-expect-error -- what is older is not spoken.
  await connectWithCustomAuthorizer({ endpoint, tls: { minVersion: 'TLSv1.1' } })
  // @ts-expect-error -- they are a list.
  await connectWithCustomAuthorizer({ endpoint, tls: { alpnProtocols: 'mqtt' } })
  // @ts-expect-error -- a passphrase goes into a KeyObject.
  await connectWithCustomAuthorizer({ endpoint, tls: { key: 'pem', passphrase: 'text' } })
  // @ts-expect-error -- it is a URL as a whole.
  await connectWithCustomAuthorizer({ endpoint, proxy: { host: 'proxy', port: 3128 } })
}

export async function freshCredentials(): Promise<void> {
  const endpoint = 'host'
  await connectWithCustomAuthorizer({
    endpoint,
    authorizerName: 'Auth',
    tokenKeyName: 'key',
    credentials: async (attempt) => {
      same<typeof attempt, CredentialsAttempt>(true)
      same<typeof attempt.number, number>(true)
      same<typeof attempt.clientId, string>(true)
      same<typeof attempt.lastError, MqttError | undefined>(true)
      same<typeof attempt.signal, AbortSignal>(true)
      const token = await fetch('https://host/token', { signal: attempt.signal })
      const fresh: FreshCredentials = {
        tokenValue: await token.text(),
        tokenSignature: 'c2ln',
        expiresAt: new Date(),
      }
      return fresh
    },
  })
  await connectWithCustomAuthorizer({
    endpoint,
    credentials: () => ({
      username: 'user',
      password: Buffer.from('text'),
      expiresAt: Date.now() + 3_600_000,
    }),
  })
  await connectWithCustomAuthorizer({ endpoint, credentials: () => ({}) })

  // @ts-expect-error -- credentials are what a function returns.
  await connectWithCustomAuthorizer({ endpoint, credentials: { password: 'text' } })
  // @ts-expect-error -- a date in text is none.
  await connectWithCustomAuthorizer({ endpoint, credentials: () => ({ expiresAt: '2030-01-01' }) })
  // @ts-expect-error -- they are not left out.
  await connectWithCustomAuthorizer({ endpoint, credentials: async () => {} })
  // @ts-expect-error -- when they end is for the function to say.
  await connectWithCustomAuthorizer({ endpoint, expiresAt: new Date() })
}

export async function reconnecting(): Promise<void> {
  const endpoint = 'host'
  const all: ReconnectOptions = {
    minDelayMs: 1_000,
    maxDelayMs: 120_000,
    stableAfterMs: 30_000,
    spreadMs: 2_000,
    maxAttempts: 10,
    stopAfterRefusals: 3,
    renewAfterSeconds: 3_000,
  }
  await connectWithCustomAuthorizer({ endpoint, reconnect: all })
  await connectWithCustomAuthorizer({ endpoint, reconnect: {}, initialConnect: 'retry' })
  await connectWithCustomAuthorizer({ endpoint, reconnect: false })
  const early = await connectWithCustomAuthorizer({ endpoint, initialConnect: 'background' })
  same<typeof early, Connection>(true)
  console.log(early.negotiated?.inFlight)

  await connectWithCustomAuthorizer({
    endpoint,
    onAttempt: ({ number, error, nextDelayMs }) => {
      same<typeof number, number>(true)
      same<typeof error, MqttError | undefined>(true)
      same<typeof nextDelayMs, number | undefined>(true)
    },
  })

  // @ts-expect-error -- it is on as it is, or changed by an object.
  await connectWithCustomAuthorizer({ endpoint, reconnect: true })
  // @ts-expect-error -- a misspelt option is found.
  await connectWithCustomAuthorizer({ endpoint, reconnect: { minDelay: 1_000 } })
  // @ts-expect-error -- there is no such way.
  await connectWithCustomAuthorizer({ endpoint, initialConnect: 'lazy' })
}

export async function bounds(): Promise<void> {
  const endpoint = 'host'
  const all: LimitOptions = {
    publishesPerSecond: false,
    bytesPerSecond: 1_048_576,
    inFlight: false,
    subscriptions: 100,
  }
  await connectWithCustomAuthorizer({ endpoint, limits: all })
  await connectWithCustomAuthorizer({ endpoint, limits: {} })
  await connectWithCustomAuthorizer({ endpoint, limits: 'aws-iot-core' })
  await connectWithCustomAuthorizer({ endpoint, queue: { whenFull: 'reject', qos0: 'reject' } })

  // @ts-expect-error -- a limit is turned off by false.
  await connectWithCustomAuthorizer({ endpoint, limits: { inFlight: true } })
  // @ts-expect-error -- a misspelt option is found.
  await connectWithCustomAuthorizer({ endpoint, limits: { inflight: 1 } })
  // @ts-expect-error -- nothing else is dropped.
  await connectWithCustomAuthorizer({ endpoint, queue: { whenFull: 'drop-newest' } })
}

export async function properties(connection: Connection): Promise<void> {
  const endpoint = 'host'
  const all: PublishProperties = {
    contentType: 'application/json',
    responseTopic: 'answers',
    correlationData: new Uint8Array(4),
    userProperties: [
      ['key', 'value'],
      ['key', 'another'],
    ],
    payloadFormat: 'utf8',
  }
  const will: Will = {
    topic: 'gone',
    payload: { online: false },
    qos: 1,
    retain: true,
    delaySeconds: 30,
    properties: all,
  }
  await connectWithCustomAuthorizer({ endpoint, will })
  await connectWithCustomAuthorizer({ endpoint, connectProperties: { userProperties: [['key', 'value']] } })
  await connection.publish('a/b', 'text', { expiresInMs: 60_000, properties: all })
  await connection.publish('a/b', 'text', {
    properties: { correlationData: 'text', userProperties: { key: 'value', other: ['1', '2'] } as const },
  })

  const answer = await connection.request('ask', { of: 'me' })
  const message: Message = answer
  void message
  await connection.request('ask', 'text', {
    responseTopic: 'answers/me',
    timeoutMs: 1_000,
    qos: 0,
    expiresInMs: 1_000,
    properties: { contentType: 'text/plain' },
    signal: new AbortController().signal,
  })
  const received = answer.properties
  same<typeof received, MessageProperties>(true)
  same<typeof received.correlationData, Buffer | undefined>(true)
  same<typeof received.payloadFormat, 'bytes' | 'utf8' | undefined>(true)
  same<typeof received.expirySeconds, number | undefined>(true)
  for (const [key, value] of received.userProperties) console.log(key.length, value.length)

  // @ts-expect-error -- a will has a payload, be it empty.
  await connectWithCustomAuthorizer({ endpoint, will: { topic: 'gone' } })
  // @ts-expect-error -- IoT Core has no QoS 2.
  await connectWithCustomAuthorizer({ endpoint, will: { topic: 'gone', payload: '', qos: 2 } })
  // @ts-expect-error -- a user property is text.
  await connection.publish('a/b', 'text', { properties: { userProperties: { count: 1 } } })
  // @ts-expect-error -- the life of a message is an option of its own.
  await connection.publish('a/b', 'text', { properties: { messageExpiryInterval: 60 } })
  // @ts-expect-error -- a request has a payload.
  await connection.request('ask')
  // @ts-expect-error -- a subscription does not run out of time by itself.
  await connection.subscribe('a/+', { timeoutMs: 1_000 })
}

export async function publishing(connection: Connection): Promise<void> {
  const result = await connection.publish('a/b', 'text')
  same<typeof result, PublishResult>(true)
  same<(typeof result)['reasonCode'], number>(true)
  await connection.publish(
    'a/b',
    { celsius: 21.5 },
    { qos: 0, retain: true, signal: new AbortController().signal },
  )
  await connection.publish('a/b', [1, 2])
  await connection.publish('a/b', Buffer.alloc(1))
  await connection.publish('a/b', new Float64Array(1))
  await connection.publish('a/b', new DataView(new ArrayBuffer(1)))
  await connection.publish('a/b', new ArrayBuffer(1))
  await connection.publish('a/b', new SharedArrayBuffer(1))

  const { packet_id: packetId } = await connection.publish('a/b', 'text', 1, true)
  same<typeof packetId, number | undefined>(true)
  await connection.publish('a/b', 'text', 0)

  // @ts-expect-error -- IoT Core has no QoS 2.
  await connection.publish('a/b', 'text', { qos: 2 })
  // @ts-expect-error -- a number is no payload.
  await connection.publish('a/b', 1)
  // @ts-expect-error -- a payload is required.
  await connection.publish('a/b')
}

export async function subscribing(connection: Connection): Promise<void> {
  const subscription = await connection.subscribe('a/+')
  same<typeof subscription, Subscription>(true)
  for await (const message of subscription) {
    same<typeof message, Message>(true)
    same<(typeof message)['payload'], Buffer>(true)
    message.ack()
  }
  const granted = subscription.granted[0] ?? { filter: '', qos: 0 }
  same<typeof granted.filter, string>(true)
  same<typeof granted.qos, 0 | 1>(true)
  await subscription.unsubscribe()

  const handler: MessageHandler = async ({ topic, payload, qos, retain, dup }) =>
    console.log(topic, payload.toString('utf8'), qos, retain, dup)
  await connection.subscribe('a/+', { qos: 0 }, handler)
  await connection.subscribe(['a/+', 'b/#'] as const, { qos: 1 }, (message) => console.log(message.topic))
  await connection.subscribe(['a/+'], {}, () => {})
  await connection.subscribe('a/+', undefined, handler)
  {
    await using scoped = await connection.subscribe('a/+')
    for await (const { topic } of scoped) console.log(topic)
  }

  const aws = await connection.subscribe('a/+', 1, (topic, payload, dup, qos, retain) => {
    same<typeof payload, ArrayBuffer>(true)
    console.log(topic.length, payload.byteLength, dup, qos, retain)
  })
  same<typeof aws, { packet_id?: number; topic: string; qos: number; error_code: number }>(true)
  await connection.subscribe('a/+', 1)

  const result = await connection.unsubscribe('a/+')
  same<(typeof result)['reasonCodes'], UnsubscribeResult['reasonCodes']>(true)
  await connection.unsubscribe(['a/+', 'b/#'])

  // @ts-expect-error -- a handler comes after the options.
  await connection.subscribe('a/+', handler)
  // @ts-expect-error -- IoT Core has no QoS 2.
  await connection.subscribe('a/+', { qos: 2 })
  // @ts-expect-error -- what was granted is not for writing.
  subscription.granted = []
}

export async function lifeOf(connection: Connection): Promise<void> {
  connection
    .on('connect', ({ sessionPresent, negotiated }) => {
      same<typeof sessionPresent, boolean>(true)
      same<typeof negotiated, Negotiated>(true)
    })
    .on('interrupt', ({ error }) => same<typeof error, MqttError>(true))
    .on('resume', ({ sessionPresent, negotiated, downMs }) => {
      same<typeof sessionPresent, boolean>(true)
      same<typeof negotiated, Negotiated>(true)
      same<typeof downMs, number>(true)
    })
    .once('closed', (reason) => same<typeof reason, CloseReason>(true))
    .on('message', (message) => same<typeof message, Message>(true))
    .on('log', (record) => same<typeof record, LogRecord>(true))
  connection.off('message', () => {})
  // @ts-expect-error -- a message has no such member.
  connection.on('message', (message) => message.body)
  // @ts-expect-error -- an interruption has no session.
  connection.on('interrupt', ({ sessionPresent }) => sessionPresent)

  same<Connection['state'], ConnectionState>(true)
  same<ConnectionState, 'connecting' | 'connected' | 'reconnecting' | 'disconnecting' | 'closed'>(true)
  same<Connection['sessionPresent'], boolean>(true)
  connection.ref().unref()
  same<Connection['negotiated'], Negotiated | undefined>(true)
  same<Negotiated['topicAliasMaximum'], number>(true)
  console.log(connection.clientId, connection.negotiated?.alpnProtocol)
  // @ts-expect-error -- in the background nothing may have been granted yet.
  console.log(connection.negotiated.alpnProtocol)

  const stats = connection.stats()
  same<typeof stats, Stats>(true)
  same<typeof stats.lastError, MqttError | undefined>(true)
  console.log(stats.attempts + stats.pacedMs + stats.queued, stats.pingMs?.toFixed())

  await connection.disconnect()
  await connection.disconnect({ timeoutMs: 100, force: true })
  const { error, unsettled } = await connection.closed
  same<typeof error, MqttError | undefined>(true)
  same<typeof unsettled, number>(true)

  await using scoped = await connectWithCustomAuthorizer({ endpoint: 'host' })
  // @ts-expect-error -- the client id is fixed.
  scoped.clientId = 'other'
}

export function errors(error: unknown): string {
  if (!(error instanceof MqttError)) return ''
  same<typeof error.code, ErrorCode>(true)
  same<typeof error.stage, Stage>(true)
  same<typeof error.reasonCode, number | undefined>(true)
  same<typeof error.warnings, ReadonlyArray<string> | undefined>(true)
  if (error.code === 'ERR_NOT_AUTHORIZED' && error.retryable) return error.hint
  if (error.code === 'ERR_CREDENTIALS' && error.stage === 'credentials') return String(error.cause)
  if (error.code === 'ERR_NO_RESPONSE' || error.code === 'ERR_EXPIRED') return error.code
  if (error.code === 'ERR_PROXY_AUTH' && error.stage === 'proxy') return error.hint
  if (error.code === 'ERR_WEBSOCKET' && error.stage === 'websocket') return error.hint
  if (error.code === 'ERR_PROXY') return error.message
  // @ts-expect-error -- there is no such code.
  if (error.code === 'ERR_NOT_AUTHORISED') return ''
  return `${error.name}: ${error.reasonString ?? error.message}`
}

export function signing(): string {
  // @ts-expect-error -- a key is required.
  signToken('token')
  return (
    signToken('token', 'pem') +
    signToken('token', Buffer.from('der')) +
    signToken('token', createPrivateKey('pem'))
  )
}
