import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { sentSoFar, startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

const KIB = 1_024

for (const [what, args, code] of [
  ['a topic with +', ['a/+', ''], 'ERR_INVALID_TOPIC'],
  ['a topic with #', ['a/#', ''], 'ERR_INVALID_TOPIC'],
  ['an empty topic', ['', ''], 'ERR_INVALID_TOPIC'],
  ['a topic with NUL', ['a\0b', ''], 'ERR_INVALID_TOPIC'],
  ['a topic of 257 bytes', ['x'.repeat(257), ''], 'ERR_INVALID_TOPIC'],
  ['a topic of 129 letters in 258 bytes', ['é'.repeat(129), ''], 'ERR_INVALID_TOPIC'],
  ['a topic with 8 slashes', ['a/b/c/d/e/f/g/h/i', ''], 'ERR_INVALID_TOPIC'],
  ['a topic that is no string', [42, ''], 'ERR_INVALID_OPTION'],
  ['a payload of 128 KiB and 1 byte', ['a', Buffer.alloc(128 * KIB + 1)], 'ERR_PAYLOAD_TOO_LARGE'],
  ['QoS 2', ['a', '', { qos: 2 }], 'ERR_LIMIT'],
  ['QoS -1', ['a', '', { qos: -1 }], 'ERR_LIMIT'],
  ['QoS 0.5', ['a', '', { qos: 0.5 }], 'ERR_LIMIT'],
  ['QoS 256', ['a', '', { qos: 256 }], 'ERR_LIMIT'],
  ['QoS "1"', ['a', '', { qos: '1' }], 'ERR_INVALID_OPTION'],
  ['retain "yes"', ['a', '', { retain: 'yes' }], 'ERR_INVALID_OPTION'],
  ['a signal that is none', ['a', '', { signal: new EventTarget() }], 'ERR_INVALID_OPTION'],
  ['an option that does not exist', ['a', '', { QoS: 0 }], 'ERR_INVALID_OPTION'],
  ['null for options', ['a', '', null], 'ERR_INVALID_OPTION'],
]) {
  test(`${what}: that publish alone rejects, nothing is sent, the connection lives`, async () => {
    const { connection, link } = await peer.connect()
    const before = connection.publish('before', '', { qos: 0 })
    await assert.rejects(connection.publish(...args), { name: 'MqttError', code })
    await before
    assert.deepEqual(
      (await sentSoFar(connection, link)).map(({ topic }) => topic),
      ['before'],
    )
    assert.equal(connection.state, 'connected')
    await connection.disconnect()
  })
}

test('256 bytes, 7 slashes and 128 KiB pass', async () => {
  const { connection, link } = await peer.connect()
  const topic = `a/b/c/d/e/f/g/${'x'.repeat(242)}`
  await connection.publish(topic, Buffer.alloc(128 * KIB), { qos: 0 })
  const packet = await link.expect('publish')
  assert.equal(packet.topic, topic)
  assert.equal(packet.payload.length, 128 * KIB)
  await connection.disconnect()
})

test("with limits: 'none' IoT Core's bounds are off, MQTT's are not", async () => {
  const { connection, link } = await peer.connect({ limits: 'none' })
  const topic = `${'a/'.repeat(200)}b`
  await connection.publish(topic, Buffer.alloc(128 * KIB + 1), { qos: 0 })
  const packet = await link.expect('publish')
  assert.equal(packet.topic, topic)
  assert.equal(packet.payload.length, 128 * KIB + 1)
  await assert.rejects(connection.publish('a/#', ''), { code: 'ERR_INVALID_TOPIC' })
  await assert.rejects(connection.publish('a', '', { qos: 2 }), { code: 'ERR_LIMIT' })
  await connection.disconnect()
})

test('what CONNACK did not grant is refused here', async () => {
  const { connection, link } = await peer.connect(
    {},
    { properties: { maximumQoS: 0, retainAvailable: false, maximumPacketSize: 100 } },
  )
  await assert.rejects(connection.publish('a', '', { qos: 1 }), { code: 'ERR_LIMIT' })
  await assert.rejects(connection.publish('a', '', { qos: 0, retain: true }), { code: 'ERR_LIMIT' })
  await assert.rejects(connection.publish('a', 'x'.repeat(100), { qos: 0 }), {
    code: 'ERR_PAYLOAD_TOO_LARGE',
  })
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect()
})

test('an error names the topic, and a long one only in part', async () => {
  const { connection } = await peer.connect()
  await assert.rejects(connection.publish('fleet/+', ''), { message: /"fleet\/\+"/ })
  await assert.rejects(connection.publish('x'.repeat(10_000), ''), ({ message }) => message.length < 300)
  await connection.disconnect()
})

test('queue.maxMessages: what exceeds it rejects there and then, and there is room again later', async () => {
  const { connection, link } = await peer.connect({ queue: { maxMessages: 2 } })
  const publishing = ['a', 'b'].map((topic) => connection.publish(topic, ''))
  await assert.rejects(connection.publish('c', ''), {
    code: 'ERR_QUEUE_FULL',
    retryable: true,
    message: /queue\.maxMessages 2/,
  })
  await assert.rejects(connection.subscribe('c'), { code: 'ERR_QUEUE_FULL' })
  await link.acknowledge()
  await link.acknowledge()
  await Promise.all(publishing)
  const next = connection.publish('d', '')
  assert.equal((await link.acknowledge()).topic, 'd')
  await next
  await connection.disconnect()
})

test('queue.maxBytes: what exceeds it rejects, and one larger than all of it can be sent alone', async () => {
  const { connection, link } = await peer.connect({ queue: { maxBytes: 1_000 } })
  const first = connection.publish('large', Buffer.alloc(5_000))
  await assert.rejects(connection.publish('small', ''), { code: 'ERR_QUEUE_FULL' })
  await link.acknowledge()
  await first
  const publishing = [connection.publish('a', Buffer.alloc(600)), connection.publish('b', Buffer.alloc(300))]
  await assert.rejects(connection.publish('c', Buffer.alloc(300)), { code: 'ERR_QUEUE_FULL' })
  await link.acknowledge()
  await link.acknowledge()
  await Promise.all(publishing)
  await connection.disconnect()
})
