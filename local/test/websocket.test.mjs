import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { generate } from 'mqtt-packet'
import { connectAsync } from 'mqtt'
import { WebSocket } from 'ws'
import {
  RawClient,
  connectPacket,
  connectRaw,
  createTokenKey,
  grant,
  lastOfType,
  ofType,
  openRaw,
  publish,
  start,
  subscribe,
  unsigned,
  untilEvent,
} from './support.mjs'

const key = createTokenKey()
const signed = { handler: () => grant(), tokenKeyName: 'Tok', tokenSigningPublicKeys: { main: key.pem } }
const NAME = 'x-amz-customauthorizer-name'
const SIGNATURE = 'x-amz-customauthorizer-signature'

/** A `ws` client that has sent nothing yet. */
async function openWebSocket(t, endpoint, { path = '/mqtt', protocols = 'mqtt', ...options } = {}) {
  const webSocket = new WebSocket(`wss://localhost:${endpoint.port}${path}`, protocols, {
    ca: endpoint.ca,
    ...options,
  })
  t.after(() => webSocket.terminate())
  webSocket.on('error', () => {})
  const closed = once(webSocket, 'close').then(([code]) => code)
  await once(webSocket, 'open')
  return { webSocket, closed }
}

/** The same, with packets on it; each packet goes in a frame of its own. */
async function openPackets(t, endpoint, protocolVersion = 5) {
  const { webSocket, closed } = await openWebSocket(t, endpoint)
  const adapter = {
    on: (event, listener) => webSocket.on(event === 'data' ? 'message' : event, (value) => listener(value)),
    once: (event, listener) => webSocket.once(event, listener),
    write: (bytes) => webSocket.send(bytes),
  }
  const client = new RawClient(adapter, protocolVersion)
  return { client, webSocket, closed }
}

async function connectPackets(t, endpoint, { protocolVersion = 5, ...fields } = {}) {
  const opened = await openPackets(t, endpoint, protocolVersion)
  const connack = await opened.client.ask(connectPacket(protocolVersion, fields))
  assert.equal(connack.cmd, 'connack')
  return opened
}

/** MQTT.js over WebSocket. */
async function connectMqttJs(t, endpoint, { path = '/mqtt', ...options } = {}) {
  const client = await connectAsync(`wss://localhost:${endpoint.port}${path}`, {
    ca: endpoint.ca,
    reconnectPeriod: 0,
    clientId: 'dash-42',
    ...options,
    wsOptions: { ca: endpoint.ca, ...options.wsOptions },
  })
  t.after(() => client.endAsync(true))
  return client
}

// Credentials and the event, by a client that nobody here wrote

const token = 'a+b/c'
const signature = key.sign(token)
const encoded = `${NAME}=Signed&tok=${encodeURIComponent(token)}&${SIGNATURE}=${encodeURIComponent(signature)}`

for (const [carrier, options, expected] of [
  [
    'headers',
    {
      wsOptions: { headers: { 'X-Amz-CustomAuthorizer-Name': 'Signed', Tok: token, [SIGNATURE]: signature } },
    },
    {
      queryString: '',
      headers: { 'x-amz-customauthorizer-name': 'Signed', tok: token, [SIGNATURE]: signature },
      mqtt: { clientId: 'dash-42' },
    },
  ],
  [
    'the query string',
    { path: `/mqtt?${encoded}` },
    { queryString: `?${encoded}`, headers: {}, mqtt: { clientId: 'dash-42' } },
  ],
  [
    'CONNECT',
    { username: `me?${encoded}`, password: 'pw' },
    {
      queryString: '',
      headers: {},
      mqtt: { username: `me?${encoded}`, password: 'cHc=', clientId: 'dash-42' },
    },
  ],
  [
    'all three, mixed',
    {
      path: `/mqtt?${NAME}=Signed`,
      wsOptions: { headers: { [SIGNATURE]: signature } },
      username: `?tok=${encodeURIComponent(token)}`,
    },
    {
      queryString: `?${NAME}=Signed`,
      headers: { [SIGNATURE]: signature },
      mqtt: { username: `?tok=${encodeURIComponent(token)}`, clientId: 'dash-42' },
    },
  ],
]) {
  for (const protocolVersion of [4, 5]) {
    test(`MQTT.js ${protocolVersion} authenticates by ${carrier}`, async (t) => {
      const endpoint = await start(t, { authorizers: { Signed: signed }, defaultAuthorizer: undefined })
      const client = await connectMqttJs(t, endpoint, { protocolVersion, ...options })
      await client.subscribeAsync('a/b', { qos: 1 })
      const message = once(client, 'message')
      await client.publishAsync('a/b', 'x'.repeat(100_000), { qos: 1 })
      assert.equal((await message)[1].length, 100_000)

      const { event } = endpoint.invocations[0]
      assert.deepEqual(event.protocols, ['tls', 'http', 'mqtt'])
      assert.equal(event.token, token)
      assert.equal(event.signatureVerified, true)
      assert.deepEqual(event.protocolData.tls, { serverName: 'localhost' })
      assert.deepEqual(event.protocolData.mqtt, expected.mqtt)
      assert.equal(event.protocolData.http.queryString, expected.queryString)
      const { headers } = event.protocolData.http
      const own = Object.entries(headers).filter(([name]) => /^(x-|tok)/.test(name))
      assert.deepEqual(Object.fromEntries(own), expected.headers)
      assert.equal(headers['sec-websocket-protocol'], 'mqtt')
      assert.equal(headers['content-length'], '0')
      assert.equal(headers.host, `localhost:${endpoint.port}`)
      assert.equal(ofType(endpoint, 'warning').length, 0)
    })
  }
}

test('the user name goes before the query string and that before a header, with a warning', async (t) => {
  const authorizers = { A: unsigned(), B: unsigned(), C: unsigned() }
  const endpoint = await start(t, { authorizers, defaultAuthorizer: undefined })
  const wsOptions = { headers: { [NAME]: 'C' } }
  await connectMqttJs(t, endpoint, { username: `?${NAME}=A`, path: `/mqtt?${NAME}=B`, wsOptions })
  await connectMqttJs(t, endpoint, { path: `/mqtt?${NAME}=B`, wsOptions })
  await connectMqttJs(t, endpoint, { wsOptions })
  assert.deepEqual(
    endpoint.invocations.map(({ authorizer }) => authorizer),
    ['A', 'B', 'C'],
  )
  assert.deepEqual(
    ofType(endpoint, 'warning').map(({ message }) => message),
    [
      `${NAME} is in the user name and, with another value, in the query string and header; the user name counts`,
      `${NAME} is in the query string and, with another value, in the header; the query string counts`,
    ],
  )
})

test('a warning about tokens that differ does not hold them', async (t) => {
  const authorizers = { Open: { ...unsigned(), tokenKeyName: 'tok' } }
  const endpoint = await start(t, { authorizers })
  await connectMqttJs(t, endpoint, { username: '?tok=secret1', path: '/mqtt?tok=secret2' })
  assert.equal(endpoint.invocations[0].event.token, 'secret1')
  assert.match(lastOfType(endpoint, 'warning').message, /^tok is in the user name/)
  assert.doesNotMatch(JSON.stringify(endpoint.events), /secret/)
})

test('a percent-encoded signature in a header is told apart', async (t) => {
  const endpoint = await start(t, { authorizers: { Open: signed } })
  const wsOptions = { headers: { Tok: token, [SIGNATURE]: encodeURIComponent(signature) } }
  await assert.rejects(connectMqttJs(t, endpoint, { protocolVersion: 5, wsOptions }))
  const { rule, message } = lastOfType(endpoint, 'connect-refused')
  assert.equal(rule, 'signature-not-base64')
  assert.match(message, /in the header is percent-encoded/)
  assert.equal(endpoint.invocations.length, 0)
})

test('the authorizer is asked after CONNECT has come, not for the upgrade', async (t) => {
  const endpoint = await start(t)
  const { client } = await openPackets(t, endpoint)
  assert.equal(endpoint.invocations.length, 0)
  assert.equal((await client.ask(connectPacket(5))).reasonCode, 0)
  assert.equal(endpoint.invocations.length, 1)
})

test('an error that repeats secrets of the query string and of headers is recorded without them', async (t) => {
  const handler = ({ protocolData: { http } }) => {
    throw new Error(`no: ${http.queryString} ${http.headers['x-key']} ${http.headers.host}`)
  }
  const endpoint = await start(t, { authorizers: { Open: { handler, signingDisabled: true } } })
  const wsOptions = { headers: { 'X-Key': 'secret-key' } }
  await assert.rejects(
    connectMqttJs(t, endpoint, { protocolVersion: 5, path: '/mqtt?tok=secret%2Dtoken', wsOptions }),
  )
  const { message } = lastOfType(endpoint, 'connect-refused')
  assert.match(message, /no: \?tok=\*\*\* \*\*\* localhost:\d+$/)
})

test('a refusal reaches MQTT.js as its CONNACK', async (t) => {
  const endpoint = await start(t, { authorizers: { Open: unsigned({ isAuthenticated: false }) } })
  await assert.rejects(connectMqttJs(t, endpoint, { protocolVersion: 5 }), { code: 0x87 })
})

// Frames

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
