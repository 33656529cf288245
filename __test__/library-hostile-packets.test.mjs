import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

const bytes = (...values) => Buffer.from(values)

// A packet, and the versions in which it breaks the protocol.
for (const [what, packet, versions] of [
  ['packet type 0', bytes(0x00, 0x00), [3, 5]],
  ['a Remaining Length of five bytes', bytes(0x30, 0xff, 0xff, 0xff, 0xff, 0x7f), [3, 5]],
  ['a packet of 256 MiB announced', bytes(0x30, 0xff, 0xff, 0xff, 0x7f), [3, 5]],
  ['a PUBLISH with QoS 3', bytes(0x36, 0x05, 0, 1, 0x61, 0, 1), [3, 5]],
  ['a PUBLISH with QoS 2, which was not asked for', bytes(0x34, 0x06, 0, 1, 0x61, 0, 1, 0), [3, 5]],
  ['a PUBLISH shorter than its topic', bytes(0x30, 0x03, 0, 9, 0x61), [3, 5]],
  ['a PUBLISH without anything', bytes(0x30, 0x00), [3, 5]],
  ['a PUBLISH with QoS 1 and packet id 0', bytes(0x32, 0x06, 0, 1, 0x61, 0, 0, 0), [3, 5]],
  ['a PUBLISH without a packet id', bytes(0x32, 0x03, 0, 1, 0x61), [3, 5]],
  ['a PUBLISH whose topic is no UTF-8', bytes(0x30, 0x05, 0, 2, 0xff, 0xfe, 0), [3, 5]],
  ['a PUBLISH with a wildcard in its topic', bytes(0x30, 0x05, 0, 2, 0x61, 0x23, 0), [3, 5]],
  ['a PUBLISH without a topic', bytes(0x30, 0x02, 0, 0), [3]],
  ['a PUBLISH without a topic', bytes(0x30, 0x03, 0, 0, 0), [5]],
  ['a PUBLISH with a topic alias that was not offered', bytes(0x30, 0x07, 0, 1, 0x61, 3, 0x23, 0, 33), [5]],
  ['a PUBLISH with topic alias 0', bytes(0x30, 0x07, 0, 1, 0x61, 3, 0x23, 0, 0), [5]],
  ['a PUBLISH with a topic alias that stands for nothing', bytes(0x30, 0x06, 0, 0, 3, 0x23, 0, 1), [5]],
  ['a PUBLISH whose properties are longer than itself', bytes(0x30, 0x05, 0, 1, 0x61, 0x7f, 0x01), [5]],
  ['a PUBLISH with an unknown property', bytes(0x30, 0x06, 0, 1, 0x61, 2, 0x7e, 0), [5]],
  ['a PUBACK without a packet id', bytes(0x40, 0x00), [3, 5]],
  ['a PUBACK of one byte', bytes(0x40, 0x01, 0), [3, 5]],
  ['a SUBACK without codes', bytes(0x90, 0x02, 0, 1), [3, 5]],
  ['a second CONNACK', bytes(0x20, 0x02, 0, 0), [3]],
  ['a second CONNACK', bytes(0x20, 0x03, 0, 0, 0), [5]],
  ['a CONNECT', bytes(0x10, 0x00), [3, 5]],
  ['a SUBSCRIBE', bytes(0x82, 0x06, 0, 1, 0, 1, 0x61, 1), [3, 5]],
  ['a PINGREQ', bytes(0xc0, 0x00), [3, 5]],
  ['a PINGRESP with a body', bytes(0xd0, 0x01, 0), [3, 5]],
  ['a PUBREL', bytes(0x62, 0x02, 0, 1), [3, 5]],
  ['an AUTH', bytes(0xf0, 0x00), [3, 5]],
  ['HTTP', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), [3, 5]],
]) {
  for (const mqttVersion of versions) {
    test(`MQTT ${mqttVersion}: ${what} ends the connection with ERR_PROTOCOL`, async () => {
      const { connection, link } = await peer.connect({ mqttVersion, reconnect: false })
      const publishing = connection.publish('a', '')
      await link.expect('publish')
      link.sendBytes(packet)
      const { error, unsettled } = await connection.closed
      assert.equal(error.code, 'ERR_PROTOCOL', error.message)
      assert.equal(error.stage, 'session')
      assert.equal(unsettled, 1)
      await assert.rejects(publishing, (rejected) => rejected.code === 'ERR_PROTOCOL')
      await link.closed
    })
  }
}

for (const [what, packet] of [
  ['an HTTP answer', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
  ['another packet', bytes(0xd0, 0x00)],
  ['a CONNACK of one byte', bytes(0x20, 0x01, 0)],
  ['a huge CONNACK', bytes(0x20, 0xff, 0xff, 0xff, 0x7f)],
  ['random bytes', bytes(0xff, 0x13, 0x37, 0x00, 0xaa)],
]) {
  for (const mqttVersion of [3, 5]) {
    test(`MQTT ${mqttVersion}: ${what} in place of CONNACK is ERR_PROTOCOL`, async () => {
      const connecting = connectWithCustomAuthorizer({ ...peer.where, mqttVersion })
      const link = await peer.accept()
      await link.expect('connect')
      link.sendBytes(packet)
      await assert.rejects(connecting, { name: 'MqttError', code: 'ERR_PROTOCOL' })
      await link.closed
    })
  }
}

test('a SUBACK with too many codes is ERR_PROTOCOL', async () => {
  const { connection, link } = await peer.connect({ reconnect: false })
  const subscribing = connection.subscribe('a')
  const { messageId } = await link.expect('subscribe')
  link.send({ cmd: 'suback', messageId, granted: [1, 1, 1] })
  await assert.rejects(subscribing, { code: 'ERR_PROTOCOL' })
  await connection.closed
})

test('packets cut into single bytes are read as they were meant', async () => {
  const got = []
  const { connection, link } = await peer.connect({ onMessage: ({ topic }) => got.push(topic) })
  const publishing = connection.publish('a', '')
  const { messageId } = await link.expect('publish')
  const stream = Buffer.concat([
    link.encode({ cmd: 'publish', topic: 'one', payload: 'x'.repeat(200) }),
    link.encode({ cmd: 'puback', messageId, reasonCode: 0 }),
  ])
  for (const byte of stream) {
    link.sendBytes(Buffer.of(byte))
    await new Promise((resolve) => setImmediate(resolve))
  }
  await publishing
  assert.deepEqual(got, ['one'])
  await connection.disconnect()
})

test('what came before the broken packet is handed out', async () => {
  const got = []
  const { connection, link } = await peer.connect({
    reconnect: false,
    onMessage: ({ topic }) => got.push(topic),
  })
  link.sendBytes(Buffer.concat([link.encode({ cmd: 'publish', topic: 'a', payload: '' }), bytes(0x00, 0x00)]))
  await connection.closed
  assert.deepEqual(got, ['a'])
})

test('one connection that ends this way does not touch another', async () => {
  const broken = await peer.connect({ reconnect: false })
  const other = await peer.connect()
  broken.link.sendBytes(bytes(0x00, 0x00))
  await broken.connection.closed
  const publishing = other.connection.publish('a', '')
  await other.link.acknowledge()
  await publishing
  await other.connection.disconnect()
})
