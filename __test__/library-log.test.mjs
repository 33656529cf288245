import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { startEndingPeer } from './support/scripted-peer.mjs'

const peer = await startEndingPeer()
after(() => peer.close())

const FIELDS = ['clientId', 'level', 'message', 'packet', 'time']

/** A connection that has published, subscribed and ended, and what its log has of it. */
async function logged(logLevel) {
  const records = []
  const { connection, link } = await peer.connect({
    clientId: 'c-1',
    username: 'me',
    password: 'op3nsesame',
    logLevel,
    logger: (record) => records.push(record),
  })
  const published = connection.publish('secret/topic', 'payl0ad')
  const { messageId } = await link.acknowledge()
  await published
  await connection.publish('secret/topic', 'payl0ad', { qos: 0 })
  await link.expect('publish')
  const subscribed = connection.subscribe('secret/#', {}, () => {})
  const subscribe = await link.grant()
  await subscribed
  link.send({ cmd: 'publish', topic: 'secret/answer', payload: 'payl0ad' })
  await once(connection, 'message')
  const disconnecting = connection.disconnect()
  await link.expect('disconnect')
  link.end()
  await disconnecting
  return { records, messageId, subscribeId: subscribe.messageId }
}

test('trace shows each packet by direction, kind, id and size, and nothing of its content', async () => {
  const { records, messageId, subscribeId } = await logged('trace')
  const packets = records.filter(({ packet }) => packet !== undefined)
  for (const record of packets) {
    assert.deepEqual(Object.keys(record).toSorted(), FIELDS)
    assert.equal(record.level, 'trace')
    assert.equal(record.clientId, 'c-1')
    assert.ok(Math.abs(Date.now() - record.time) < 60_000)
    const { direction, kind, id, bytes } = record.packet
    const which = id === undefined ? '' : ` with id ${id}`
    assert.equal(record.message, `${direction} ${kind}${which}, ${bytes} bytes`)
  }
  const shown = packets.map(({ packet: { direction, kind, id } }) => [direction, kind, id])
  assert.deepEqual(shown, [
    ['sent', 'CONNECT', undefined],
    ['received', 'CONNACK', undefined],
    ['sent', 'PUBLISH', messageId],
    ['received', 'PUBACK', messageId],
    ['sent', 'PUBLISH', undefined],
    ['sent', 'SUBSCRIBE', subscribeId],
    ['received', 'SUBACK', subscribeId],
    ['received', 'PUBLISH', undefined],
    ['sent', 'DISCONNECT', undefined],
  ])
  // Fixed header, topic with its length, properties' length, payload.
  assert.equal(packets[4].packet.bytes, 2 + 2 + 'secret/topic'.length + 1 + 'payl0ad'.length)
  assert.doesNotMatch(JSON.stringify(records), /secret|payl0ad|op3n/)
})

for (const [logLevel, expected] of [
  ['none', []],
  ['error', []],
  ['info', ['info']],
  ['debug', ['debug', 'info']],
]) {
  test(`${logLevel} shows no packet, and no record beyond its level`, async () => {
    const { records } = await logged(logLevel)
    const levels = new Set(records.map(({ level }) => level))
    assert.deepEqual([...levels].toSorted(), expected)
    for (const record of records) {
      assert.deepEqual(
        Object.keys(record).toSorted(),
        FIELDS.filter((field) => field !== 'packet'),
      )
    }
  })
}

test('a packet that ends the connection is in the trace too', async () => {
  const records = []
  const { connection, link } = await peer.connect({
    reconnect: false,
    logLevel: 'trace',
    logger: (record) => records.push(record),
  })
  link.send({ cmd: 'disconnect', reasonCode: 0x8b })
  const { error } = await connection.closed
  assert.equal(error.reasonCode, 0x8b)
  assert.match(error.message, new RegExp(`^localhost:${peer.port}\\b`))
  const { packet } = records.findLast((record) => record.packet !== undefined)
  assert.deepEqual({ ...packet, bytes: 0 }, { direction: 'received', kind: 'DISCONNECT', bytes: 0 })
})
