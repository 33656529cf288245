import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { generate } from 'mqtt-packet'
import {
  connectPacket,
  connectRaw,
  lastOfType,
  openRaw,
  publish,
  start,
  subscribe,
  unsigned,
  untilEvent,
} from './support.mjs'
import { connectMqttJs, connectPackets, openPackets, openWebSocket } from './websocket-support.mjs'

test('either subprotocol is echoed, the first one offered that is known', async (t) => {
  const endpoint = await start(t)
  for (const [protocols, chosen] of [
    ['mqtt', 'mqtt'],
    ['mqttv3.1', 'mqttv3.1'],
    [['amqp', 'mqttv3.1', 'mqtt'], 'mqttv3.1'],
  ]) {
    const { webSocket } = await openWebSocket(t, endpoint, { protocols })
    assert.equal(webSocket.protocol, chosen)
  }
})

test('the event of an accepted connection tells the transport', async (t) => {
  const endpoint = await start(t)
  await connectMqttJs(t, endpoint)
  assert.equal(lastOfType(endpoint, 'connected').transport, 'websocket')
})

test('ALPN http/1.1 is as good as none', async (t) => {
  const endpoint = await start(t)
  const { webSocket } = await openWebSocket(t, endpoint, { ALPNProtocols: ['http/1.1'] })
  assert.equal(webSocket.protocol, 'mqtt')
})

test('a packet may be split over two frames at any place', async (t) => {
  const endpoint = await start(t)
  const bytes = generate(connectPacket(5), { protocolVersion: 5 })
  for (let cut = 1; cut < bytes.length; cut++) {
    const { webSocket } = await openWebSocket(t, endpoint)
    webSocket.send(bytes.subarray(0, cut))
    webSocket.send(bytes.subarray(cut))
    assert.equal((await once(webSocket, 'message'))[0][0], 0x20, `cut at ${cut}`)
    webSocket.terminate()
  }
})

test('a packet may come byte by byte, and in fragments of one message', async (t) => {
  const endpoint = await start(t)
  const bytes = generate(connectPacket(5), { protocolVersion: 5 })
  const crumbs = await openWebSocket(t, endpoint)
  for (const byte of bytes) crumbs.webSocket.send(Buffer.of(byte))
  assert.equal((await once(crumbs.webSocket, 'message'))[0][0], 0x20)
  const fragments = await openWebSocket(t, endpoint)
  for (const byte of bytes) fragments.webSocket.send(Buffer.of(byte), { fin: false })
  fragments.webSocket.send('', { fin: true, binary: true })
  assert.equal((await once(fragments.webSocket, 'message'))[0][0], 0x20)
})

test('a frame may hold several packets', async (t) => {
  const endpoint = await start(t)
  const { client, webSocket } = await openPackets(t, endpoint)
  const packets = [connectPacket(5), { cmd: 'pingreq' }, { cmd: 'pingreq' }]
  webSocket.send(Buffer.concat(packets.map((packet) => generate(packet, { protocolVersion: 5 }))))
  const answers = [await client.next(), await client.next(), await client.next()]
  assert.deepEqual(
    answers.map(({ cmd }) => cmd),
    ['connack', 'pingresp', 'pingresp'],
  )
})

test('the upgrade and the first frame may be cut anywhere', async (t) => {
  const endpoint = await start(t)
  const head =
    'GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n'
  const connect = generate(connectPacket(5), { protocolVersion: 5 })
  // Masked with zeros, so the packet stands there as it is.
  const bytes = Buffer.concat([
    Buffer.from(head),
    Buffer.of(0x82, 0x80 | connect.length, 0, 0, 0, 0),
    connect,
  ])
  for (let cut = 1; cut <= bytes.length; cut++) {
    const { socket } = await openRaw(t, endpoint, { ALPNProtocols: undefined })
    socket.removeAllListeners('data')
    socket.write(bytes.subarray(0, cut))
    socket.write(bytes.subarray(cut))
    let answer = Buffer.alloc(0)
    // The frame after the answer's header: binary, and CONNACK in it.
    while (!/\r\n\r\n\x82[^]\x20/.test(answer.toString('latin1'))) {
      answer = Buffer.concat([answer, (await once(socket, 'data'))[0]])
    }
    socket.destroy()
  }
  assert.equal(endpoint.invocations.length, bytes.length)
})

const WILL = { will: { topic: 'will', payload: 'x', qos: 0, retain: false } }

test('a Close frame is a disconnect by the client: no will', async (t) => {
  const endpoint = await start(t)
  const { webSocket, closed } = await connectPackets(t, endpoint, WILL)
  webSocket.close(1000)
  assert.equal(await closed, 1000)
  const { disconnectReason, clientInitiated, willPublished } = await untilEvent(endpoint, 'disconnected')
  assert.deepEqual(
    { disconnectReason, clientInitiated, willPublished },
    { disconnectReason: 'CLIENT_INITIATED_DISCONNECT', clientInitiated: true, willPublished: false },
  )
})

test('an end without a Close frame is a lost connection: the will is published', async (t) => {
  const endpoint = await start(t)
  const watcher = await connectRaw(t, endpoint, { clientId: 'watcher' })
  await subscribe(watcher, 'will')
  const { webSocket } = await connectPackets(t, endpoint, { ...WILL, clientId: 'device' })
  webSocket.terminate()
  assert.equal((await watcher.next()).topic, 'will')
  assert.equal(lastOfType(endpoint, 'disconnected').disconnectReason, 'CONNECTION_LOST')
})

for (const [what, send, code, message] of [
  ['a text frame', (webSocket) => webSocket.send('text'), 1003, /text frame/],
  [
    'a frame that is too large',
    (webSocket) => webSocket.send(Buffer.alloc(300_000)),
    1009,
    /Max payload size exceeded/,
  ],
  [
    'a message without an end',
    (webSocket) => {
      for (let n = 0; n < 10; n++) webSocket.send(Buffer.alloc(30_000), { fin: false })
    },
    1009,
    /Max payload size exceeded/,
  ],
  [
    'more fragments than anybody needs',
    (webSocket) => {
      for (let n = 0; n < 5000; n++) webSocket.send(Buffer.alloc(0), { fin: false })
    },
    1008,
    /Too many message fragments/,
  ],
]) {
  test(`${what} ends the connection with code ${code} and the will`, async (t) => {
    const endpoint = await start(t)
    const { webSocket, closed } = await connectPackets(t, endpoint, WILL)
    send(webSocket)
    assert.equal(await closed, code)
    const event = await untilEvent(endpoint, 'disconnected')
    assert.equal(event.disconnectReason, 'CLIENT_ERROR')
    assert.equal(event.willPublished, true)
    assert.match(event.message, message)
  })
}

test('a reset reaches the TCP connection under a WebSocket', async (t) => {
  const endpoint = await start(t)
  let socket
  const createConnection = (options) =>
    (socket = connectTls({ ...options, host: 'localhost', servername: 'localhost' }))
  await openWebSocket(t, endpoint, { createConnection })
  const failed = once(socket, 'error')
  endpoint.connections[0].reset()
  assert.equal((await failed)[0].code, 'ECONNRESET')
})

test('a text frame in place of CONNECT is refused', async (t) => {
  const endpoint = await start(t)
  const { webSocket, closed } = await openWebSocket(t, endpoint)
  webSocket.send(generate(connectPacket(5)).toString('latin1'))
  assert.equal(await closed, 1003)
  assert.equal((await untilEvent(endpoint, 'connect-refused')).rule, 'websocket-violation')
  assert.equal(endpoint.invocations.length, 0)
})

test('a ping of WebSocket is answered', async (t) => {
  const endpoint = await start(t)
  const { webSocket } = await openWebSocket(t, endpoint)
  webSocket.ping('hello')
  assert.equal((await once(webSocket, 'pong'))[0].toString(), 'hello')
})

test('a refused 3.1.1 client sees a Close frame and no packet', async (t) => {
  const endpoint = await start(t, { authorizers: { Open: unsigned({ isAuthenticated: false }) } })
  const { client, closed } = await openPackets(t, endpoint, 4)
  assert.equal(await client.ask(connectPacket(4)), undefined)
  assert.equal(await closed, 1005)
})

test('close ends WebSockets too: DISCONNECT, then a Close frame', async (t) => {
  const endpoint = await start(t)
  const { client, closed } = await connectPackets(t, endpoint)
  const idle = await openWebSocket(t, endpoint)
  const ended = endpoint.close()
  assert.equal((await client.next()).reasonCode, 0x8b)
  assert.equal(await closed, 1005)
  await Promise.all([ended, idle.closed])
})

test('a client that floods and does not read is read from no more', async (t) => {
  const endpoint = await start(t)
  const { client, webSocket } = await connectPackets(t, endpoint)
  await subscribe(client, 'a')
  webSocket.pause()
  const packet = generate(publish('a', Buffer.alloc(100_000)), { protocolVersion: 5 })
  for (let n = 0; n < 1000; n++) webSocket.send(packet)
  // It has stalled when the event loop goes round and round and nothing moves.
  for (let idle = 0, seen = -1; idle < 1000; idle = seen === webSocket.bufferedAmount ? idle + 1 : 0) {
    seen = webSocket.bufferedAmount
    await new Promise(setImmediate)
  }
  assert.ok(webSocket.bufferedAmount > 50_000_000, `${webSocket.bufferedAmount} bytes are unsent`)
})
