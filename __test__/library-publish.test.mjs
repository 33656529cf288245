import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { sentSoFar, startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

for (const mqttVersion of [3, 5]) {
  test(`MQTT ${mqttVersion}: QoS 1 is the default, and resolves with the packet id once acknowledged`, async () => {
    const { connection, link } = await peer.connect({ mqttVersion })
    let settled = false
    const publishing = connection.publish('a/b', 'hello')
    void publishing.then(() => (settled = true))
    const { topic, payload, qos, retain, dup, messageId } = await link.expect('publish')
    assert.deepEqual(
      { topic, payload: payload.toString(), qos, retain, dup, messageId },
      { topic: 'a/b', payload: 'hello', qos: 1, retain: false, dup: false, messageId: 1 },
    )
    // A whole round trip later nothing has settled it.
    await sentSoFar(connection, link)
    assert.equal(settled, false)
    link.send({ cmd: 'puback', messageId, reasonCode: 0 })
    assert.deepEqual(await publishing, { packetId: 1, reasonCode: 0 })
    await connection.disconnect()
  })

  test(`MQTT ${mqttVersion}: QoS 0 resolves without an answer`, async () => {
    const { connection, link } = await peer.connect({ mqttVersion })
    assert.deepEqual(await connection.publish('a', 'x', { qos: 0 }), { packetId: 0, reasonCode: 0 })
    const { qos, messageId } = await link.expect('publish')
    assert.deepEqual({ qos, messageId }, { qos: 0, messageId: undefined })
    await connection.disconnect()
  })

  test(`MQTT ${mqttVersion}: retain is sent`, async () => {
    const { connection, link } = await peer.connect({ mqttVersion })
    await connection.publish('a', 'x', { qos: 0, retain: true })
    assert.equal((await link.expect('publish')).retain, true)
    await connection.disconnect()
  })
}

test('the reason code for no subscribers is no failure', async () => {
  const { connection, link } = await peer.connect()
  const publishing = connection.publish('a', 'x')
  await link.acknowledge(0x10)
  assert.deepEqual(await publishing, { packetId: 1, reasonCode: 16 })
  await connection.disconnect()
})

test('a refused publish rejects with the code and the words of the server, and the connection lives', async () => {
  const { connection, link } = await peer.connect()
  const publishing = connection.publish('secret/topic', 'x')
  const { messageId } = await link.expect('publish')
  link.send({ cmd: 'puback', messageId, reasonCode: 0x87, properties: { reasonString: 'not yours' } })
  await assert.rejects(publishing, {
    name: 'MqttError',
    code: 'ERR_PUBLISH_REJECTED',
    stage: 'operation',
    reasonCode: 0x87,
    reasonString: 'not yours',
    message: /"secret\/topic".*Not authorized/i,
  })
  const next = connection.publish('a', 'x')
  await link.acknowledge()
  await next
  await connection.disconnect()
})

test('acknowledgements in any order reach the promise that they belong to', async () => {
  const { connection, link } = await peer.connect()
  const publishing = ['a', 'b', 'c'].map((topic) => connection.publish(topic, 'x'))
  const packets = [await link.expect('publish'), await link.expect('publish'), await link.expect('publish')]
  const [a, b, c] = packets.map(({ messageId }) => messageId)
  link.send(
    { cmd: 'puback', messageId: c, reasonCode: 0 },
    { cmd: 'puback', messageId: a, reasonCode: 16 },
    { cmd: 'puback', messageId: b, reasonCode: 0 },
  )
  assert.deepEqual(await Promise.all(publishing), [
    { packetId: a, reasonCode: 16 },
    { packetId: b, reasonCode: 0 },
    { packetId: c, reasonCode: 0 },
  ])
  await connection.disconnect()
})

test('an acknowledgement that never comes rejects with ERR_ACK_TIMEOUT, and the connection lives', async () => {
  const { connection, link } = await peer.connect({ ackTimeoutMs: 50 })
  await assert.rejects(connection.publish('a', 'x'), { code: 'ERR_ACK_TIMEOUT', stage: 'operation' })
  await link.expect('publish')
  await connection.publish('b', 'x', { qos: 0 })
  await connection.disconnect()
})

test('an acknowledgement for what nobody sent is passed over', async () => {
  const { connection, link } = await peer.connect()
  link.send({ cmd: 'puback', messageId: 4711, reasonCode: 0 })
  const publishing = connection.publish('a', 'x')
  await link.acknowledge()
  await publishing
  await connection.disconnect()
})

test('no more publishes are unacknowledged than the server wants', async () => {
  const onMessage = () => {}
  const { connection, link } = await peer.connect({ onMessage }, { properties: { receiveMaximum: 2 } })
  assert.equal(connection.negotiated.inFlight, 2)
  const publishing = ['a', 'b', 'c'].map((topic) => connection.publish(topic, topic))
  const first = await link.expect('publish')
  await link.expect('publish')
  // Had the third left with the others, it would come before this.
  link.send({ cmd: 'publish', topic: 't', payload: '', qos: 1, messageId: 9 })
  await link.expect('puback')
  link.send({ cmd: 'puback', messageId: first.messageId, reasonCode: 0 })
  const third = await link.expect('publish')
  assert.equal(third.topic, 'c')
  link.send(
    { cmd: 'puback', messageId: 2, reasonCode: 0 },
    { cmd: 'puback', messageId: third.messageId, reasonCode: 0 },
  )
  await Promise.all(publishing)
  await connection.disconnect()
})

test('stats count what was sent and received', async () => {
  const { connection, link } = await peer.connect()
  const publishing = connection.publish('a', 'x')
  await link.acknowledge()
  await publishing
  const { messagesSent, messagesReceived, inFlight, queued, dropped, bytesSent } = connection.stats()
  assert.deepEqual(
    { messagesSent, messagesReceived, inFlight, queued, dropped },
    { messagesSent: 1, messagesReceived: 0, inFlight: 0, queued: 0, dropped: 0 },
  )
  assert.ok(bytesSent > 0)
  await connection.disconnect()
})
