import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { handedOut, sentSoFar, startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

test('publish(topic, payload, qos, retain) gives { packet_id }', async () => {
  const { connection, link } = await peer.connect()
  const publishing = connection.publish('a', { a: 1 }, 1, true)
  const { qos, retain, payload, messageId } = await link.acknowledge()
  assert.deepEqual({ qos, retain, payload: payload.toString() }, { qos: 1, retain: true, payload: '{"a":1}' })
  assert.deepEqual(await publishing, { packet_id: messageId })
  assert.deepEqual(await connection.publish('a', 'x', 0), { packet_id: 0 })
  await connection.disconnect()
})

test('subscribe(topic, qos, onMessage) gives the result of the AWS SDK', async () => {
  const { connection, link } = await peer.connect()
  const subscribing = connection.subscribe('a/#', 1, () => {})
  const { messageId } = await link.grant(0)
  assert.deepEqual(await subscribing, { packet_id: messageId, topic: 'a/#', qos: 0, error_code: 0 })
  await connection.disconnect()
})

for (const size of [0, 5, 3_000]) {
  test(`onMessage gets an ArrayBuffer of exactly ${size} bytes, and dup, qos and retain`, async () => {
    const { connection, link } = await peer.connect()
    let got
    const subscribing = connection.subscribe('a/#', 1, (...args) => (got = args))
    await link.grant()
    await subscribing
    const payload = Buffer.alloc(size, 'x')
    link.send({ cmd: 'publish', topic: 'a/b', payload, qos: 1, messageId: 3, dup: true, retain: true })
    await handedOut(connection, link)
    const [topic, buffer, ...rest] = got
    assert.equal(topic, 'a/b')
    assert.ok(buffer instanceof ArrayBuffer)
    assert.deepEqual(Buffer.from(buffer), payload)
    assert.deepEqual(rest, [true, 1, true])
    await connection.disconnect()
  })
}

test('subscribe without onMessage buffers nothing: messages are acknowledged at once', async () => {
  const { connection, link } = await peer.connect()
  const subscribing = connection.subscribe('a', 1)
  await link.grant()
  await subscribing
  link.send({ cmd: 'publish', topic: 'a', payload: 'x', qos: 1, messageId: 3 })
  assert.equal((await link.expect('puback')).messageId, 3)
  await connection.disconnect()
})

test('unsubscribe(topic) gives { packet_id }', async () => {
  const { connection, link } = await peer.connect()
  const subscribing = connection.subscribe('a', 1, () => {})
  await link.grant()
  await subscribing
  const leaving = connection.unsubscribe('a')
  const { messageId } = await link.grantUnsubscribe()
  assert.equal((await leaving).packet_id, messageId)
  await connection.disconnect()
})

test('a refused filter rejects', async () => {
  const { connection, link } = await peer.connect()
  const subscribing = connection.subscribe('a', 1, () => {})
  await link.grant(0x87)
  await assert.rejects(subscribing, { code: 'ERR_SUBSCRIBE_REJECTED' })
  await connection.disconnect()
})

test('QoS 2 is refused in both, before anything is sent', async () => {
  const { connection, link } = await peer.connect()
  await assert.rejects(connection.publish('a', 'x', 2), { code: 'ERR_LIMIT' })
  await assert.rejects(
    connection.subscribe('a', 2, () => {}),
    { code: 'ERR_LIMIT' },
  )
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect()
})
