import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { createContext, runInContext } from 'node:vm'
import { startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())
const limits = { publishesPerSecond: false, bytesPerSecond: false }
const { connection, link } = await peer.connect({ limits })
after(() => connection.disconnect())

async function sent(payload) {
  await connection.publish('t', payload, { qos: 0 })
  return (await link.expect('publish')).payload
}

function counting(length) {
  return Uint8Array.from({ length }, (_, index) => index)
}

function shared(length) {
  const buffer = new SharedArrayBuffer(length)
  new Uint8Array(buffer).set(counting(length))
  return buffer
}

const foreign = (expression) => runInContext(expression, createContext({}))

for (const [what, payload, expected] of [
  ['text as UTF-8', 'grüße 🌡', Buffer.from('grüße 🌡')],
  ['empty text as nothing', '', ''],
  ['a Buffer from the middle of a larger one', Buffer.from('0123456789').subarray(3, 6), '345'],
  ['an empty Buffer as nothing', Buffer.alloc(0), ''],
  ['a Uint8Array with an offset', counting(10).subarray(4, 7), Buffer.of(4, 5, 6)],
  [
    'a Uint16Array by its bytes',
    new Uint16Array(counting(8).buffer, 2, 2),
    Buffer.from(counting(8)).subarray(2, 6),
  ],
  ['a DataView with an offset', new DataView(counting(10).buffer, 1, 3), Buffer.of(1, 2, 3)],
  ['an ArrayBuffer', counting(3).buffer, Buffer.of(0, 1, 2)],
  ['an empty ArrayBuffer', new ArrayBuffer(0), ''],
  ['a SharedArrayBuffer', shared(3), Buffer.of(0, 1, 2)],
  ['a view of a SharedArrayBuffer', new Uint8Array(shared(5), 1, 2), Buffer.of(1, 2)],
  ['a plain object as JSON', { celsius: 21.5, tags: ['ä'] }, '{"celsius":21.5,"tags":["ä"]}'],
  [
    'an object without a prototype as JSON',
    Object.assign(Object.create(null), { a: 1, b: undefined }),
    '{"a":1}',
  ],
  ['an array as JSON', [1, 'two', null], '[1,"two",null]'],
  ['an empty object as JSON', {}, '{}'],
  ['an ArrayBuffer of another realm', foreign('new Uint8Array([1, 2]).buffer'), Buffer.of(1, 2)],
  ['a view of another realm', foreign('new Uint8Array([1, 2]).subarray(1)'), Buffer.of(2)],
  ['an object of another realm', foreign('({ a: 1 })'), '{"a":1}'],
]) {
  test(`${what} is sent`, async () => {
    assert.deepEqual(await sent(payload), Buffer.from(expected))
  })
}

class Reading {
  celsius = 21.5
}

const circular = {}
circular.self = circular

for (const [what, payload, named] of [
  ['undefined', undefined, 'undefined'],
  ['null', null, 'null'],
  ['a number', 42, 'number'],
  ['a boolean', true, 'boolean'],
  ['a bigint', 1n, 'bigint'],
  ['a function', () => {}, 'function'],
  ['a symbol', Symbol('s'), 'symbol'],
  ['a Date', new Date(0), 'Date'],
  ['a Map', new Map(), 'Map'],
  ['an instance of a class', new Reading(), 'Reading'],
  ['an object that holds itself', circular, 'circular'],
  ['an object with a bigint', { big: 1n }, 'BigInt'],
  ['an object whose JSON is nothing', { toJSON: () => undefined }, 'JSON'],
]) {
  test(`${what} is refused`, async () => {
    await assert.rejects(connection.publish('t', payload), (error) => {
      assert.equal(error.code, 'ERR_INVALID_OPTION')
      assert.match(error.message, /^payload /)
      assert.ok(error.message.includes(named), error.message)
      return true
    })
  })
}

test('the bytes are copied before publish returns', async () => {
  const payload = Buffer.from('before')
  const publishing = connection.publish('t', payload, { qos: 0 })
  payload.write('AFTER!')
  await publishing
  assert.equal((await link.expect('publish')).payload.toString(), 'before')
})

test('a buffer that was transferred away does no harm', async () => {
  const payload = counting(4)
  structuredClone(payload, { transfer: [payload.buffer] })
  assert.equal((await sent(payload)).length, 0)
})

for (const size of [0, 1, 2_047, 2_048, 2_049, 8_191, 8_192, 70_000, 131_071, 131_072]) {
  test(`${size} bytes arrive as they were sent, both ways`, async () => {
    const payload = Buffer.alloc(size, counting(251))
    assert.ok((await sent(payload)).equals(payload))
    const arriving = new Promise((resolve) => connection.once('message', resolve))
    link.send({ cmd: 'publish', topic: 't', payload })
    const message = await arriving
    assert.ok(Buffer.isBuffer(message.payload))
    assert.ok(message.payload.equals(payload))
  })
}

test('messages of mixed sizes in one burst keep their order and their bytes', async () => {
  const sizes = Array.from({ length: 200 }, (_, index) => [3, 2_048, 0, 9_000, 2_047][index % 5])
  const arrived = []
  const all = new Promise((resolve) => {
    connection.on('message', (message) => {
      if (arrived.push(message) === sizes.length) resolve()
    })
  })
  const payloads = sizes.map((size, index) => Buffer.alloc(size, index))
  link.send(...payloads.map((payload, index) => ({ cmd: 'publish', topic: `t/${index}`, payload })))
  await all
  connection.removeAllListeners('message')
  for (const [index, { topic, payload }] of arrived.entries()) {
    assert.equal(topic, `t/${index}`)
    assert.ok(payload.equals(payloads[index]), topic)
  }
})

test('a small message that is kept holds 8 KiB at most, a large one its own bytes alone', async () => {
  const arrived = []
  const all = new Promise((resolve) => {
    connection.on('message', (message) => {
      if (arrived.push(message) === 51) resolve()
    })
  })
  const small = Array.from({ length: 50 }, () => ({
    cmd: 'publish',
    topic: 't',
    payload: Buffer.alloc(1_000),
  }))
  link.send(...small, { cmd: 'publish', topic: 't', payload: Buffer.alloc(100_000) })
  await all
  connection.removeAllListeners('message')
  const held = arrived.map(({ payload }) => payload.buffer.byteLength)
  assert.equal(held.pop(), 100_000)
  assert.ok(Math.max(...held) <= 8_192, String(Math.max(...held)))
})
