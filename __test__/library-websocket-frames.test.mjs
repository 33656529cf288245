import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { handedOut, startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer({ websocket: true })
after(() => peer.close())

async function connected(t, options = {}) {
  const { connection, link } = await peer.connect({ reconnect: false, ...options })
  t.after(() => connection.disconnect({ force: true }))
  return { connection, link }
}

const publish = (payload) => ({ cmd: 'publish', topic: 'a', payload })

test('packets that are split over frames, and frames that hold many packets, are all read', async (t) => {
  const got = []
  const { connection, link } = await connected(t, {
    onMessage: ({ payload }) => void got.push(String(payload)),
  })
  const bytes = Buffer.concat(['one', 'two', 'three'].map((payload) => link.encode(publish(payload))))
  for (const byte of bytes) link.websocket.send(Buffer.of(byte))
  link.websocket.send(bytes)
  await handedOut(connection, link)
  assert.deepEqual(got, ['one', 'two', 'three', 'one', 'two', 'three'])
})

test('a message of WebSocket in fragments is put together', async (t) => {
  const got = []
  const { connection, link } = await connected(t, {
    onMessage: ({ payload }) => void got.push(String(payload)),
  })
  const bytes = link.encode(publish('payload'))
  link.websocket.send(bytes.subarray(0, 5), { fin: false, binary: true })
  link.websocket.ping()
  link.websocket.send(bytes.subarray(5), { fin: true, binary: true })
  await handedOut(connection, link)
  assert.deepEqual(got, ['payload'])
})

test('a ping of WebSocket is answered with what it holds', async (t) => {
  const { link } = await connected(t)
  const pong = once(link.websocket, 'pong')
  link.websocket.ping('are you there')
  const [data] = await pong
  assert.equal(data.toString(), 'are you there')
})

test('frames of the client are masked and binary', async (t) => {
  const { connection, link } = await connected(t)
  // ws closes with 1002 what comes without a mask; the kind it tells.
  const kinds = []
  link.websocket.on('message', (_data, isBinary) => kinds.push(isBinary))
  await connection.publish('a', 'x', { qos: 0 })
  await link.expect('publish')
  assert.deepEqual(kinds, [true])
})

test('a text message breaks the protocol: ERR_WEBSOCKET', async (t) => {
  const { connection, link } = await connected(t)
  link.websocket.send('text')
  const { error } = await connection.closed
  assert.deepEqual({ code: error.code, stage: error.stage }, { code: 'ERR_WEBSOCKET', stage: 'websocket' })
})

for (const [what, bytes] of [
  ['a masked frame', [0x82, 0x81, 1, 2, 3, 4, 5]],
  ['a frame with bits of an extension', [0xf2, 1, 0]],
  ['a frame of an unknown kind', [0x83, 0]],
  ['a continuation of nothing', [0x80, 1, 0]],
  ['a ping of 126 bytes', [0x89, 126, 0, 126, ...Array.from({ length: 126 }, () => 0)]],
  ['a ping in fragments', [0x09, 0]],
  ['a close frame of one byte', [0x88, 1, 3]],
  ['a close frame whose reason is no UTF-8', [0x88, 3, 0x03, 0xe8, 0xff]],
]) {
  test(`${what} breaks the protocol: ERR_WEBSOCKET`, async (t) => {
    const { connection, link } = await connected(t)
    link.tls.write(Buffer.from(bytes))
    const { error } = await connection.closed
    assert.deepEqual({ code: error.code, stage: error.stage }, { code: 'ERR_WEBSOCKET', stage: 'websocket' })
  })
}

test('a message longer than receive.maxBytes: ERR_WEBSOCKET', async (t) => {
  const { connection, link } = await connected(t, { receive: { maxBytes: 2_000_000 } })
  link.websocket.send(Buffer.alloc(2_000_001))
  const { error } = await connection.closed
  assert.equal(error.code, 'ERR_WEBSOCKET')
})

test('a frame that comes together with the answer to the request is read', async (t) => {
  const connecting = connectWithCustomAuthorizer(peer.where)
  connecting.catch(() => {})
  const link = await peer.accept()
  const pong = once(link.websocket, 'pong')
  link.websocket.ping()
  await link.expect('connect')
  link.send({ cmd: 'connack', reasonCode: 0, sessionPresent: false })
  const connection = await connecting
  t.after(() => connection.disconnect({ force: true }))
  await pong
})

test('disconnect() sends DISCONNECT, then a close frame', async (t) => {
  const { connection, link } = await connected(t)
  const closed = once(link.websocket, 'close')
  await connection.disconnect()
  await link.expect('disconnect')
  const [code] = await closed
  // 1005 is a close frame without a code; 1006 would be no close frame at all.
  assert.ok([1000, 1005].includes(code), String(code))
})
