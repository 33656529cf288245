import { once } from 'node:events'
import { connect as connectTls } from 'node:tls'
import { generateKeyPairSync, sign } from 'node:crypto'
import { connectAsync } from 'mqtt'
import { generate, parser } from 'mqtt-packet'
import { startLocalEndpoint } from 'custom-authorizer-local'

export const ARN = 'arn:aws:iot:us-east-1:123456789012'

export const allow = (action, resource = '*') => ({ Effect: 'Allow', Action: action, Resource: resource })
export const deny = (action, resource = '*') => ({ Effect: 'Deny', Action: action, Resource: resource })
export const document = (...statements) => ({ Version: '2012-10-17', Statement: statements })

/** A valid answer with these statements; with none, everything is allowed. */
export const grant = (...statements) => ({
  isAuthenticated: true,
  principalId: 'tester',
  disconnectAfterInSeconds: 3600,
  refreshAfterInSeconds: 300,
  policyDocuments: [document(...(statements.length > 0 ? statements : [allow('iot:*')]))],
})

/** An unsigned authorizer that answers `answer` to everybody. */
export const unsigned = (answer = grant()) => ({ handler: () => answer, signingDisabled: true })

/** For tests that send more than IoT Core takes of a connection. */
export const UNPACED = { publishesPerSecond: Infinity, bytesPerSecond: Infinity }

/**
 * Starts an endpoint that the test closes at its end; its one authorizer `Open` allows everything, and a client id
 * may come back at once.
 */
export async function start(t, options = {}) {
  const endpoint = await startLocalEndpoint({
    authorizers: { Open: unsigned() },
    defaultAuthorizer: 'Open',
    ...options,
    limits: { connectsPerSecond: Infinity, ...options.limits },
  })
  t.after(() => endpoint.close())
  return endpoint
}

/** A stand-in whose default authorizer grants exactly these statements. */
export const startWith = (t, statements, options) =>
  start(t, { authorizers: { Open: unsigned(grant(...statements)) }, ...options })

/** MQTT.js: a client that nobody here wrote. */
export async function connectMqtt(t, endpoint, options = {}) {
  const client = await connectAsync({
    protocol: 'mqtts',
    host: endpoint.endpoint,
    servername: endpoint.endpoint,
    port: endpoint.port,
    ca: endpoint.ca,
    ALPNProtocols: ['mqtt'],
    protocolVersion: 5,
    reconnectPeriod: 0,
    ...options,
  })
  t.after(() => client.endAsync(true))
  return client
}

/** A TLS socket with packets on it, for what a well-behaved client does not do. */
export class RawClient {
  #packets = []
  #waiting = []
  #closed = false

  constructor(socket, protocolVersion) {
    this.socket = socket
    this.protocolVersion = protocolVersion
    this.parser = parser({ protocolVersion })
    this.parser.on('packet', (packet) => this.#push(packet))
    socket.on('data', (data) => this.parser.parse(data))
    socket.on('error', () => {})
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#closed = true
        for (const next of this.#waiting) next(undefined)
        resolve()
      })
    })
  }

  /** The next packet, or undefined once the connection is closed. */
  next() {
    if (this.#packets.length > 0) return Promise.resolve(this.#packets.shift())
    if (this.#closed) return Promise.resolve(undefined)
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  send(packet) {
    this.socket.write(generate(packet, { protocolVersion: this.protocolVersion }))
  }

  /** Sends, and returns what comes back. */
  async ask(packet) {
    this.send(packet)
    return this.next()
  }

  #push(packet) {
    const next = this.#waiting.shift()
    if (next) next(packet)
    else this.#packets.push(packet)
  }
}

/** `protocolVersion` 4 is MQTT 3.1.1. */
export async function openRaw(t, endpoint, { protocolVersion = 5, ...tls } = {}) {
  const socket = connectTls({
    host: '127.0.0.1',
    port: endpoint.port,
    ca: endpoint.ca,
    servername: 'localhost',
    ALPNProtocols: ['mqtt'],
    ...tls,
  })
  t.after(() => socket.destroy())
  const client = new RawClient(socket, protocolVersion)
  await once(socket, 'secureConnect')
  return client
}

export const connectPacket = (protocolVersion, fields = {}) => ({
  cmd: 'connect',
  protocolId: 'MQTT',
  protocolVersion,
  clientId: 'raw',
  keepalive: 60,
  clean: true,
  ...fields,
})

/** Connects raw and expects to be accepted; `connack` is kept on the client. */
export async function connectRaw(t, endpoint, { protocolVersion = 5, ...fields } = {}) {
  const client = await openRaw(t, endpoint, { protocolVersion })
  client.connack = await client.ask(connectPacket(protocolVersion, fields))
  if ((client.connack?.reasonCode ?? client.connack?.returnCode) !== 0)
    throw new Error('the CONNECT was refused')
  return client
}

export const subscribe = (client, topic, options = {}) =>
  client.ask({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos: 1, ...options }] })

export const publish = (topic, payload = 'x', fields = {}) => ({
  cmd: 'publish',
  topic,
  payload,
  qos: 0,
  dup: false,
  retain: false,
  ...fields,
})

export const ofType = (endpoint, type) => endpoint.events.filter((event) => event.type === type)
export const lastOfType = (endpoint, type) => ofType(endpoint, type).at(-1)

/** The last event of this type, once there is one. */
export async function untilEvent(endpoint, type) {
  for (;;) {
    const event = lastOfType(endpoint, type)
    if (event) return event
    await new Promise(setImmediate)
  }
}

export function createTokenKey(modulusLength = 2048) {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength })
  return {
    pem: publicKey.export({ type: 'spki', format: 'pem' }),
    sign: (token) => sign('RSA-SHA256', Buffer.from(token), privateKey).toString('base64'),
  }
}
