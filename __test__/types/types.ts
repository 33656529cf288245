// Compiled, never run: every call form of the public contract, and what it must refuse.
import { createPrivateKey } from 'node:crypto'
import {
  MqttError,
  connectWithCustomAuthorizer,
  signToken,
  type CloseReason,
  type ConnectOptions,
  type Connection,
  type ErrorCode,
  type LogRecord,
  type Message,
  type MessageHandler,
  type Negotiated,
  type PublishResult,
  type Stage,
  type Subscription,
  type UnsubscribeResult,
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
    tls: { ca: ['-----BEGIN CERTIFICATE-----', new Uint8Array()], caFile: 'ca.pem' },
    keepAliveSeconds: 60,
    pingTimeoutMs: 10_000,
    connectTimeoutMs: 30_000,
    ackTimeoutMs: 60_000,
    cleanSession: false,
    sessionExpirySeconds: 3_600,
    queue: { maxMessages: 1, maxBytes: 1 },
    receive: { maxMessages: 1, maxBytes: 1 },
    manualAck: true,
    onMessage: (message) => message.ack(),
    limits: 'none',
    logLevel: 'trace',
    logger: ({ level, message, time, clientId }) => console.log(level, message, time, clientId),
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
    .once('closed', (reason) => same<typeof reason, CloseReason>(true))
    .on('message', (message) => same<typeof message, Message>(true))
    .on('log', (record) => same<typeof record, LogRecord>(true))
  connection.off('message', () => {})
  // @ts-expect-error -- a message has no such member.
  connection.on('message', (message) => message.body)

  same<Connection['state'], 'connected' | 'disconnecting' | 'closed'>(true)
  same<Connection['sessionPresent'], boolean>(true)
  connection.ref().unref()
  console.log(connection.clientId, connection.stats().pingMs?.toFixed(), connection.negotiated.alpnProtocol)

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
