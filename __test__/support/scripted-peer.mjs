import { once } from 'node:events'
import { createServer as createWebServer } from 'node:https'
import { createServer } from 'node:tls'
import mqtt from 'mqtt-packet'
import { createWebSocketStream, WebSocketServer } from 'ws'
import { createServerCredentials } from '../../local/dist/front-door/certificates.js'
import { connectWithCustomAuthorizer } from '../../dist/client.js'

/** A queue that can be awaited: what comes is kept until somebody asks for it. */
class Inbox {
  #items = []
  #waiting = []
  #end

  push(item) {
    const waiting = this.#waiting.shift()
    if (waiting === undefined) this.#items.push(item)
    else waiting.resolve(item)
  }

  end(error) {
    this.#end ??= error
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error)
  }

  next() {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift())
    if (this.#end !== undefined) return Promise.reject(this.#end)
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
  }
}

/** The peer's end of one connection: packets come and go as the test says, nothing by itself. */
class PeerLink {
  #socket
  #packets = new Inbox()
  #version = 4
  /** The client's CONNECT, once it was answered. */
  connect
  /** The TLS connection underneath. */
  tls
  /** Over WebSocket: the request that opened it, and the WebSocket itself. */
  request
  websocket

  constructor(socket, { tls = socket, request, websocket } = {}) {
    this.#socket = socket
    Object.assign(this, { tls, request, websocket })
    /** Settles when the connection has ended, however. */
    this.closed = new Promise((resolve) => socket.once('close', resolve))
    socket.on('error', () => {})
    const parser = mqtt.parser()
    parser.on('packet', (packet) => {
      if (packet.cmd === 'connect') this.#version = packet.protocolVersion
      this.#packets.push(packet)
    })
    parser.on('error', (error) => this.#packets.end(error))
    socket.on('data', (bytes) => parser.parse(bytes))
    void this.closed.then(() => this.#packets.end(new Error('the client closed the connection')))
  }

  /** The next packet of the client, which has to be of this kind. */
  async expect(cmd) {
    const packet = await this.#packets.next()
    if (packet.cmd !== cmd) throw new Error(`expected ${cmd}, got ${JSON.stringify(packet)}`)
    return packet
  }

  /** The next packet of the client, of whatever kind. */
  any() {
    return this.#packets.next()
  }

  /** The client's packets up to one that it publishes on this topic, and that one. */
  async until(topic) {
    const before = []
    for (;;) {
      const packet = await this.#packets.next()
      if (packet.cmd === 'publish' && packet.topic === topic) return { before, packet }
      before.push(packet)
    }
  }

  /** Sends packets in one write. */
  send(...packets) {
    this.sendBytes(Buffer.concat(packets.map((packet) => this.encode(packet))))
  }

  encode(packet) {
    return mqtt.generate({ qos: 0, retain: false, dup: false, ...packet }, { protocolVersion: this.#version })
  }

  sendBytes(bytes) {
    this.#socket.write(bytes)
  }

  /** Sends messages as fast as they are taken, until the connection ends. */
  async flood() {
    const message = this.encode({ cmd: 'publish', topic: 'flood', payload: 'x'.repeat(300) })
    const messages = Buffer.concat(Array.from({ length: 100 }, () => message))
    while (!this.#socket.destroyed) {
      await Promise.race([new Promise((resolve) => this.#socket.write(messages, resolve)), this.closed])
    }
  }

  /** Grants every filter of the client's next SUBSCRIBE, and gives that packet. */
  async grant(code = 1) {
    const subscribe = await this.expect('subscribe')
    const granted = subscribe.subscriptions.map(() => code)
    this.send({ cmd: 'suback', messageId: subscribe.messageId, granted, reasonCode: 0 })
    return subscribe
  }

  async grantUnsubscribe() {
    const unsubscribe = await this.expect('unsubscribe')
    const granted = unsubscribe.unsubscriptions.map(() => 0)
    this.send({ cmd: 'unsuback', messageId: unsubscribe.messageId, granted })
    return unsubscribe
  }

  async acknowledge(reasonCode = 0) {
    const publish = await this.expect('publish')
    this.send({ cmd: 'puback', messageId: publish.messageId, reasonCode })
    return publish
  }

  /** From here on nothing is read. */
  pause() {
    this.#socket.pause()
  }

  end() {
    this.#socket.end()
  }

  destroy() {
    this.#socket.destroy()
  }
}

/**
 * A TLS server on a port that the system chose, whose packets the test sends one by one.
 *
 * With `websocket` it speaks WebSocket inside TLS; an object there goes to `ws`. The rest of the options goes to
 * node:tls: with `ALPNProtocols: []` it selects no protocol. `names` are those of its certificate.
 */
export async function startPeer({ names = ['localhost'], credentials, websocket = false, ...tls } = {}) {
  const { ca, cert, key } = credentials ?? createServerCredentials(names)
  const links = new Inbox()
  const sockets = new Set()
  const serverOptions = { cert, key, ALPNProtocols: ['mqtt'], ...tls }
  const server = websocket
    ? createWebServer(serverOptions)
    : createServer(serverOptions, (socket) => links.push(new PeerLink(socket)))
  if (websocket) {
    new WebSocketServer({ ...(websocket === true ? {} : websocket), server }).on(
      'connection',
      (socket, request) =>
        links.push(
          new PeerLink(createWebSocketStream(socket), { tls: request.socket, request, websocket: socket }),
        ),
    )
  }
  server.on('connection', (socket) => {
    socket.setNoDelay(true)
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
  })
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  const where = { endpoint: 'localhost', port, tls: { ca }, ...(websocket && { transport: 'websocket' }) }
  const welcome = async (connack = {}) => {
    const link = await links.next()
    link.connect = await link.expect('connect')
    link.send({ cmd: 'connack', returnCode: 0, reasonCode: 0, sessionPresent: false, ...connack })
    return link
  }
  return {
    ca,
    port,
    /** What a client needs to come here. */
    where,
    /** The next connection. */
    accept: () => links.next(),
    /** The next connection, with its CONNECT answered; `connack` is what the answer says beyond acceptance. */
    welcome,
    /** Connects a client and accepts it. */
    async connect(options = {}, connack = {}) {
      const connecting = connectWithCustomAuthorizer({ ...where, ...options })
      // A test that fails here says so by itself.
      connecting.catch(() => {})
      const link = await welcome(connack)
      return { connection: await connecting, link, connect: link.connect }
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      links.end(new Error('the peer is closed'))
      await closed
    },
  }
}

/** Everything that the client has to send so far, as the peer sees it. */
export async function sentSoFar(connection, link) {
  await connection.publish('marker', '', { qos: 0 })
  return (await link.until('marker')).before
}

/** Resolves once the client has handed out all that the peer has sent so far. */
export async function handedOut(connection, link) {
  const publishing = connection.publish('barrier', '')
  const { packet } = await link.until('barrier')
  link.send({ cmd: 'puback', messageId: packet.messageId, reasonCode: 0 })
  await publishing
}

/** Options of a client that is back at once: under IoT Core's limits two CONNECTs are a second apart. */
export const AT_ONCE = { limits: 'none', reconnect: { minDelayMs: 1, maxDelayMs: 20, spreadMs: 0 } }

/** Options of a client that stays in its first back-off: it is never seen to come back. */
export const LATE = {
  limits: 'none',
  reconnect: { minDelayMs: 3_600_000, maxDelayMs: 3_600_000, spreadMs: 0, stableAfterMs: 3_600_000 },
}

/** Closes the next connection once its CONNECT is there, and gives that. */
export async function turnAway(peer) {
  const link = await peer.accept()
  const connect = await link.expect('connect')
  link.end()
  return connect
}

/** Answers the CONNECT of the next connection with a refusal, and gives that CONNECT. */
export async function refuse(peer, reasonCode = 0x87, properties = undefined) {
  const link = await peer.accept()
  const connect = await link.expect('connect')
  link.send({ cmd: 'connack', returnCode: reasonCode, reasonCode, sessionPresent: false, properties })
  link.end()
  return connect
}

/** Resolves once a client with `onMessage` has written all that it may by now: its PUBACK for a message comes behind. */
export async function settled(link, messageId = 60_000) {
  link.send({ cmd: 'publish', topic: 'settled', payload: '', qos: 1, messageId })
  const puback = await link.expect('puback')
  if (puback.messageId !== messageId) throw new Error(`expected PUBACK ${messageId}, got ${puback.messageId}`)
}

/**
 * A peer for clients that come back, which ends them with itself: a test that fails leaves none that tries for ever.
 *
 * `dial` starts a client without waiting for anything; it and `connect` are quick to come back.
 */
export async function startEndingPeer(options) {
  const peer = await startPeer(options)
  const end = new AbortController()
  const connections = new Set()
  const keep = (connection) => connections.add(connection)
  return {
    ...peer,
    dial(given = {}) {
      const connecting = connectWithCustomAuthorizer({
        ...peer.where,
        ...AT_ONCE,
        signal: end.signal,
        ...given,
      })
      connecting.then(keep, () => {})
      return connecting
    },
    async connect(given = {}, connack = {}) {
      const connected = await peer.connect({ ...AT_ONCE, signal: end.signal, ...given }, connack)
      keep(connected.connection)
      return connected
    },
    async close() {
      end.abort()
      await Promise.all([...connections].map((connection) => connection.disconnect({ force: true })))
      await peer.close()
    },
  }
}

/** Looks at every turn of the event loop until it is so, or the test is over. */
export async function until(condition, signal) {
  while (!condition()) {
    signal?.throwIfAborted()
    await new Promise((resolve) => setImmediate(resolve))
  }
}
