import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { test } from 'node:test'
import { generate } from 'mqtt-packet'
import { Framer } from '../dist/connection/framing.js'
import { StoppedClock } from './fault-support.mjs'
import {
  connectPacket,
  connectRaw,
  lastOfType,
  ofType,
  openRaw,
  publish,
  start,
  unsigned,
} from './support.mjs'

const MIB = 1024 * 1024

/** The endpoint still serves others. */
async function stillServes(t, endpoint) {
  const client = await connectRaw(t, endpoint, { clientId: 'honest' })
  assert.equal((await client.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
}

/** Writes `bytes` again and again; the bytes that were taken when the endpoint stopped, or more than `most`. */
async function flood(socket, bytes, most) {
  let taken = 0
  let open = true
  socket.on('drain', () => (open = true))
  // It has stalled when the event loop goes round and round and nothing moves.
  for (let idle = 0; idle < 1000 && taken <= most && !socket.destroyed;) {
    idle = open ? 0 : idle + 1
    while (open && taken <= most) {
      open = socket.write(bytes)
      taken += bytes.length
    }
    await new Promise(setImmediate)
  }
  return taken
}

test('a packet that is announced too large is refused at its header, on an open connection', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  client.socket.write(Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f]))
  assert.equal((await client.next()).reasonCode, 0x95)
})

test('a CONNECT that is announced too large is refused at its header', async (t) => {
  const endpoint = await start(t)
  const client = await openRaw(t, endpoint)
  client.socket.write(Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f]))
  await client.closed
  assert.equal(lastOfType(endpoint, 'connect-refused').rule, 'packet-too-large')
})

test('a CONNECT whose remaining length has no end', async (t) => {
  const endpoint = await start(t)
  const client = await openRaw(t, endpoint)
  client.socket.write(Buffer.from([0x10, 0x80, 0x80, 0x80, 0x80, 0x80]))
  await client.closed
  assert.equal(lastOfType(endpoint, 'connect-refused').rule, 'malformed-packet')
})

test('zeros without an end in place of CONNECT', async (t) => {
  const endpoint = await start(t)
  const client = await openRaw(t, endpoint)
  await flood(client.socket, Buffer.alloc(64 * 1024), 64 * MIB)
  await client.closed
  assert.equal(ofType(endpoint, 'connect-refused').length, 1)
  await stillServes(t, endpoint)
})

test('zeros without an end on an open connection', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  await flood(client.socket, Buffer.alloc(64 * 1024), 64 * MIB)
  await client.closed
  assert.equal(lastOfType(endpoint, 'disconnected').disconnectReason, 'CLIENT_ERROR')
  await stillServes(t, endpoint)
})

test('a hundred thousand tiny packets are all answered', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  const pings = 100_000
  client.socket.write(Buffer.alloc(pings * 2, Buffer.from([0xc0, 0])))
  for (let n = 0; n < pings; n++) assert.equal((await client.next()).cmd, 'pingresp')
})

test('what is sent while the authorizer thinks is not read', async (t) => {
  let answer
  const thinking = new Promise((resolve) => (answer = resolve))
  const slow = { handler: () => thinking, signingDisabled: true }
  const endpoint = await start(t, {
    authorizers: { Slow: slow, Open: unsigned() },
    defaultAuthorizer: 'Slow',
  })
  const client = await openRaw(t, endpoint)
  client.send(connectPacket(5))
  const packet = generate(publish('a', Buffer.alloc(64 * 1024)), { protocolVersion: 5 })
  const taken = await flood(client.socket, packet, 64 * MIB)
  assert.ok(taken < 64 * MIB, `${taken} bytes were taken`)
  answer({ isAuthenticated: false })
  await client.closed
})

for (const [what, fault] of [
  ['answers that a fault delays', { on: 'puback', do: { delayMs: 3_600_000 } }],
  ['answers that a fault holds back', { on: 'puback', do: { hold: 'pingresp' } }],
  ['packets that a fault delays', { on: 'publish', direction: 'in', do: { delayMs: 3_600_000 } }],
  ['packets that a fault holds back', { on: 'publish', direction: 'in', do: { hold: 'pingreq' } }],
  ['packets on a half-open connection', { on: 'publish', direction: 'in', do: { halfOpen: true } }],
  ['packets on a throttled connection', { on: 'publish', do: { throttle: { bytesPerSecond: 1 } } }],
]) {
  test(`a flood does not grow the endpoint: ${what}`, async (t) => {
    const endpoint = await start(t, { clock: new StoppedClock(), faults: [fault] })
    const client = await connectRaw(t, endpoint)
    const packet = generate(publish('a', Buffer.alloc(1000), { qos: 1, messageId: 1 }), {
      protocolVersion: 5,
    })
    const taken = await flood(client.socket, Buffer.concat(Array(64).fill(packet)), 64 * MIB)
    assert.ok(taken < 64 * MIB, `${taken} bytes were taken`)
    await stillServes(t, endpoint)
  })
}

test('a packet that comes in crumbs is kept in few pieces', () => {
  const framer = new Framer(146 * 1024)
  const size = 100_000
  let most = 0
  const header = Buffer.from([0x30, 0xa0, 0x8d, 0x06]) // 100,000 bytes remaining
  for (const byte of header) framer.push(Buffer.of(byte))
  for (let n = 1; n < size; n++) {
    framer.push(Buffer.of(n & 0xff))
    assert.equal(framer.next(), undefined)
    most = Math.max(most, framer.pieces)
  }
  framer.push(Buffer.of(size & 0xff))
  assert.equal(framer.next().length, header.length + size)
  assert.ok(most <= 257, `${most} pieces`)
})

test('a client that opens TLS and sends no CONNECT is closed', async (t) => {
  const endpoint = await start(t, { limits: { connectTimeoutMs: 50 } })
  const client = await openRaw(t, endpoint)
  await client.closed
  assert.equal(lastOfType(endpoint, 'connect-refused').rule, 'connect-timeout')
})

test('a client that sends half a CONNECT is closed', async (t) => {
  const endpoint = await start(t, { limits: { connectTimeoutMs: 50 } })
  const client = await openRaw(t, endpoint)
  client.socket.write(generate(connectPacket(5), { protocolVersion: 5 }).subarray(0, 10))
  await client.closed
  assert.equal(lastOfType(endpoint, 'connect-refused').rule, 'connect-timeout')
})

test('2,000 sockets that say nothing: others are served, and they are closed in the end', async (t) => {
  const endpoint = await start(t, { limits: { connectTimeoutMs: 3000 } })
  const sockets = Array.from({ length: 2000 }, () => connectTcp(endpoint.port, '127.0.0.1'))
  t.after(() => sockets.forEach((socket) => socket.destroy()))
  const closed = sockets.map((socket) => {
    socket.on('error', () => {})
    socket.resume()
    return once(socket, 'close')
  })
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  await stillServes(t, endpoint)
  await Promise.all(closed)
  assert.equal(ofType(endpoint, 'connect-refused').length, 2000)
})
