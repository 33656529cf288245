import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { test } from 'node:test'
import { generate } from 'mqtt-packet'
import {
  connectMqtt,
  connectPacket,
  connectRaw,
  lastOfType,
  ofType,
  openRaw,
  publish,
  start,
  subscribe,
  UNPACED,
} from './support.mjs'

/** The endpoint still serves others. */
async function stillServes(t, endpoint) {
  const client = await connectRaw(t, endpoint, { clientId: 'honest' })
  assert.equal((await client.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
}

test('random bytes in place of CONNECT', async (t) => {
  const endpoint = await start(t)
  for (let n = 0; n < 40; n++) {
    const client = await openRaw(t, endpoint)
    client.socket.write(randomBytes(200))
    client.socket.end()
    await client.closed
  }
  await stillServes(t, endpoint)
})

test('packets that are cut short or altered at any place', async (t) => {
  const endpoint = await start(t)
  const templates = [
    connectPacket(5, {
      username: 'u',
      password: 'p',
      will: { topic: 'w', payload: 'x', qos: 1, retain: true, properties: { contentType: 'c' } },
      properties: { userProperties: { a: 'b' }, receiveMaximum: 5 },
    }),
    publish('a', 'x', {
      qos: 1,
      messageId: 1,
      properties: { userProperties: { a: 'b' }, correlationData: Buffer.from('c') },
    }),
    {
      cmd: 'subscribe',
      messageId: 1,
      subscriptions: [{ topic: 'a', qos: 1 }],
      properties: { userProperties: { a: 'b' } },
    },
    { cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 1 } },
  ]
  for (const template of templates) {
    const bytes = generate(template, { protocolVersion: 5 })
    for (let index = 0; index < bytes.length; index++) {
      const altered = Buffer.from(bytes)
      altered[index] ^= 0xff
      // A shorter packet whose header says so, and one with a byte turned round.
      const cut = Buffer.concat([
        Buffer.of(bytes[0], Math.max(0, index - 2)),
        bytes.subarray(2, Math.max(2, index)),
      ])
      for (const attack of [altered, cut]) {
        const client = template.cmd === 'connect' ? await openRaw(t, endpoint) : await connectRaw(t, endpoint)
        client.socket.write(attack)
        client.socket.end()
        await client.closed
      }
    }
  }
  assert.equal(
    endpoint.events.find(({ disconnectReason }) => disconnectReason === 'SERVER_ERROR'),
    undefined,
  )
  assert.equal(
    endpoint.events.find(({ rule }) => rule === 'internal-error'),
    undefined,
  )
  await stillServes(t, endpoint)
})

test('a packet that arrives byte by byte is still read', async (t) => {
  const endpoint = await start(t)
  const client = await openRaw(t, endpoint)
  for (const byte of generate(connectPacket(5), { protocolVersion: 5 })) client.socket.write(Buffer.of(byte))
  assert.equal((await client.next()).cmd, 'connack')
})

test('a remaining length without an end', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  client.socket.write(Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80, 0x01]))
  assert.equal((await client.next()).reasonCode, 0x81)
  assert.equal(lastOfType(endpoint, 'disconnected').disconnectReason, 'CLIENT_ERROR')
})

test('a reader that does not read costs a bounded amount of memory', async (t) => {
  const endpoint = await start(t, {
    limits: { ...UNPACED, outboundBytes: 512 * 1024, queuedBytes: 1024 * 1024 },
  })
  const slow = await connectRaw(t, endpoint, { clientId: 'slow' })
  await subscribe(slow, 'a/#')
  slow.socket.pause()
  const publisher = await connectMqtt(t, endpoint)
  const payload = Buffer.alloc(100_000)
  const until = async (reason, qos) => {
    for (let n = 0; n < 1000; n++) {
      await publisher.publishAsync('a/b', payload, { qos })
      // QoS 0 resolves when it was written; this answer says that it was handled.
      await publisher.publishAsync('other', '', { qos: 1 })
      if (endpoint.events.some((event) => event.type === 'dropped' && event.reason === reason)) return true
    }
    return false
  }
  assert.equal(await until('slow-reader', 0), true)
  assert.equal(await until('queue-full', 1), true)
  await stillServes(t, endpoint)
})

test('many readers that do not read cost a bounded amount of memory together', async (t) => {
  const endpoint = await start(t, { limits: { ...UNPACED, outboundTotalBytes: 1024 * 1024 } })
  for (let n = 0; n < 8; n++) {
    const slow = await connectRaw(t, endpoint, { clientId: `slow${n}` })
    await subscribe(slow, 'a')
    slow.socket.pause()
  }
  const publisher = await connectMqtt(t, endpoint)
  const payload = Buffer.alloc(100_000)
  const dropped = () => ofType(endpoint, 'dropped').length
  for (let n = 0; n < 1000 && dropped() === 0; n++) {
    await publisher.publishAsync('a', payload, { qos: 0 })
    await publisher.publishAsync('other', '', { qos: 1 })
  }
  assert.equal(lastOfType(endpoint, 'dropped').reason, 'slow-reader')
})

test('what stored messages carry beside their payload counts against the limits', async (t) => {
  const endpoint = await start(t, { limits: { retainedBytes: 10_000 } })
  const client = await connectRaw(t, endpoint)
  const store = (topic, properties) =>
    client.ask(publish(topic, 'x', { qos: 1, messageId: 1, retain: true, properties }))
  await store('a', { userProperties: { name: 'v'.repeat(8000) } })
  assert.equal(ofType(endpoint, 'dropped').length, 0)
  await store('b', { correlationData: Buffer.alloc(8000) })
  assert.equal(lastOfType(endpoint, 'dropped').reason, 'retained-full')
})

test('a client that floods and does not read is read from no more', async (t) => {
  const endpoint = await start(t, { limits: UNPACED })
  const client = await connectRaw(t, endpoint)
  await subscribe(client, 'a')
  client.socket.pause()
  const packet = generate(publish('a', Buffer.alloc(100_000)), { protocolVersion: 5 })
  // Each message comes back, so the socket must push back long before 1000 of them.
  let written = 0
  const flood = () => {
    while (written < 1000 && client.socket.write(packet)) written++
  }
  client.socket.on('drain', () => {
    written++
    flood()
  })
  flood()
  // It has stalled when the event loop goes round and round and nothing moves.
  for (let idle = 0, seen = -1; idle < 1000; idle = seen === written ? idle + 1 : 0) {
    seen = written
    await new Promise(setImmediate)
  }
  assert.ok(written < 1000, `${written} messages were taken`)
  await stillServes(t, endpoint)
})

test('close ends every connection and tells MQTT 5 clients why', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  const half = await openRaw(t, endpoint)
  const closed = endpoint.close()
  assert.equal((await client.next()).reasonCode, 0x8b)
  await Promise.all([closed, client.closed, half.closed])
  assert.equal(lastOfType(endpoint, 'disconnected').disconnectReason, 'SERVER_INITIATED_DISCONNECT')
})

/** A TCP socket that has not begun with TLS. */
async function openTcp(t, endpoint) {
  const socket = connectTcp(endpoint.port, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.on('error', () => {})
  const closed = once(socket, 'close')
  socket.resume() // or its end would not be seen
  await once(socket, 'connect')
  return { socket, closed }
}

test('random bytes in place of TLS', async (t) => {
  const endpoint = await start(t)
  for (let n = 0; n < 40; n++) {
    const { socket, closed } = await openTcp(t, endpoint)
    socket.end(randomBytes(500))
    await closed
  }
  assert.equal(
    ofType(endpoint, 'connect-refused').every(({ stage }) => stage === 'tls'),
    true,
  )
  await stillServes(t, endpoint)
})

test('thousands of sockets that never begin with TLS are closed in time', async (t) => {
  const endpoint = await start(t, { limits: { connectTimeoutMs: 1000 } })
  const idle = await Promise.all(Array.from({ length: 2000 }, () => openTcp(t, endpoint)))
  await Promise.all(idle.map(({ closed }) => closed))
  assert.equal(lastOfType(endpoint, 'connect-refused').rule, 'handshake-timeout')
  await stillServes(t, endpoint)
})

for (const [what, ALPNProtocols, bytes] of [
  ['say nothing after TLS', ['mqtt'], ''],
  ['send a header crumb by crumb', undefined, 'GET /mqtt HTTP/1.1\r\n'],
]) {
  test(`hundreds of clients that ${what} are closed in time`, async (t) => {
    const endpoint = await start(t, { limits: { connectTimeoutMs: 3000 } })
    const clients = []
    for (let n = 0; n < 300; n++) clients.push(await openRaw(t, endpoint, { ALPNProtocols }))
    for (const { socket } of clients) socket.write(bytes)
    const crumbs = setInterval(() => {
      if (bytes !== '') for (const { socket } of clients) if (socket.writable) socket.write('X')
    }, 50)
    t.after(() => clearInterval(crumbs))
    await Promise.all(clients.map(({ closed }) => closed))
    assert.equal(lastOfType(endpoint, 'connect-refused').rule, 'connect-timeout')
    await stillServes(t, endpoint)
  })
}

test('a connection beyond the limit is closed as it comes, and one that ends makes room', async (t) => {
  const endpoint = await start(t, { limits: { connections: 3 } })
  const held = [await openTcp(t, endpoint), await openRaw(t, endpoint), await connectRaw(t, endpoint)]
  const { closed } = await openTcp(t, endpoint)
  await closed
  const { rule, message } = lastOfType(endpoint, 'connect-refused')
  assert.equal(rule, 'too-many-connections')
  assert.match(message, /^there are 3 connections already/)
  for (const { socket } of held.slice(1)) {
    const ended = endpoint.events.length
    socket.destroy()
    while (endpoint.events.length === ended) await new Promise(setImmediate)
  }
  await stillServes(t, endpoint)
})

test('a WebSocket frame that never ends is cut off at its header', async (t) => {
  const endpoint = await start(t)
  const { socket } = await openRaw(t, endpoint, { ALPNProtocols: undefined })
  socket.removeAllListeners('data')
  const request =
    'GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n'
  socket.write(request)
  await once(socket, 'data')
  // A binary frame of 2^40 bytes.
  socket.write(Buffer.from([0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
  socket.resume()
  await once(socket, 'close')
  assert.equal(lastOfType(endpoint, 'connect-refused').rule, 'websocket-violation')
  await stillServes(t, endpoint)
})
