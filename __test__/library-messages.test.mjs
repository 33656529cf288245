import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { restart, stopTime } from './support/clock.mjs'
import { handedOut, sentSoFar, startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

const stored = (messageId, topic = 't') => ({ cmd: 'publish', topic, payload: topic, qos: 1, messageId })
const acks = async (connection, link) =>
  (await sentSoFar(connection, link)).filter(({ cmd }) => cmd === 'puback').map(({ messageId }) => messageId)

test('a message listener gets every message, also one that a handler matches', async () => {
  const { connection, link } = await peer.connect()
  const got = []
  connection.on('message', ({ topic }) => got.push(`event ${topic}`))
  const subscribing = connection.subscribe('a', {}, ({ topic }) => got.push(`handler ${topic}`))
  await link.grant()
  await subscribing
  link.send(stored(1, 'a'), stored(2, 'b'))
  await handedOut(connection, link)
  assert.deepEqual(got.toSorted(), ['event a', 'event b', 'handler a'])
  await connection.disconnect()
})

test('onMessage gets every message from the start, also those right behind CONNACK', async () => {
  const got = []
  const connecting = peer.connect({ onMessage: ({ topic }) => got.push(topic) })
  const { connection, link } = await connecting
  link.send(stored(1, 'a'), stored(2, 'b'))
  await handedOut(connection, link)
  assert.deepEqual(got, ['a', 'b'])
  await connection.disconnect()
})

test('messages that nobody wants wait, unacknowledged, for a listener', async () => {
  const { connection, link } = await peer.connect()
  link.send(stored(1), stored(2))
  await handedOut(connection, link)
  assert.deepEqual(await acks(connection, link), [])
  const got = []
  connection.on('message', ({ topic }) => got.push(topic))
  await handedOut(connection, link)
  assert.deepEqual(got, ['t', 't'])
  await connection.disconnect()
})

test('messages that nobody wants wait for a subscription that matches them, and for no other', async () => {
  const { connection, link } = await peer.connect()
  link.send(stored(1, 'a/1'), stored(2, 'b/1'))
  await handedOut(connection, link)
  const got = []
  const first = connection.subscribe('b/#', {}, ({ topic }) => got.push(topic))
  await link.grant()
  await first
  assert.deepEqual(got, ['b/1'])
  const second = connection.subscribe('a/+', {}, ({ topic }) => got.push(topic))
  for (const id of [1, 2]) assert.equal((await link.expect('puback')).messageId, id)
  await link.grant()
  await second
  assert.deepEqual(got, ['b/1', 'a/1'])
  await connection.disconnect()
})

test('a message right behind CONNACK reaches who subscribes first thing', async () => {
  const connecting = connectWithCustomAuthorizer({ ...peer.where, cleanSession: false, clientId: 'me' })
  const link = await peer.accept()
  await link.expect('connect')
  link.send({ cmd: 'connack', returnCode: 0, reasonCode: 0, sessionPresent: true }, stored(1))
  const connection = await connecting
  const got = []
  const subscribing = connection.subscribe('t', {}, ({ topic }) => got.push(topic))
  await link.grant()
  await subscribing
  await handedOut(connection, link)
  assert.deepEqual(got, ['t'])
  await connection.disconnect()
})

test('messages that nobody wants wait for a loop', async () => {
  const { connection, link } = await peer.connect()
  link.send(stored(1))
  await handedOut(connection, link)
  const subscribing = connection.subscribe('#')
  await link.grant()
  const reader = (await subscribing)[Symbol.asyncIterator]()
  assert.equal((await reader.next()).value.topic, 't')
  void reader.next()
  assert.deepEqual(await acks(connection, link), [1])
  await connection.disconnect()
})

test('5 s after CONNACK what nobody wants is acknowledged, dropped, counted and logged once', async () => {
  const pass = stopTime()
  try {
    const records = []
    const { connection, link } = await peer.connect({
      logLevel: 'warn',
      logger: (record) => records.push(record),
    })
    pass(1_000)
    link.send(stored(1, 'first'), stored(2, 'second'))
    await handedOut(connection, link)
    pass(3_999)
    assert.deepEqual(await acks(connection, link), [])
    pass(1)
    assert.deepEqual(await acks(connection, link), [1, 2])
    link.send(stored(3, 'third'))
    assert.equal((await link.expect('puback')).messageId, 3)
    await handedOut(connection, link)
    assert.equal(connection.stats().dropped, 3)
    const [{ level, message }, ...more] = records
    assert.equal(level, 'warn')
    assert.match(message, /"first".*nobody/)
    assert.deepEqual(more, [])
    await connection.disconnect()
  } finally {
    restart()
  }
})

test('what nobody wants is acknowledged after 5 s with manualAck too', async () => {
  const pass = stopTime()
  try {
    const { connection, link } = await peer.connect({ manualAck: true })
    link.send(stored(1))
    await handedOut(connection, link)
    pass(5_000)
    assert.deepEqual(await acks(connection, link), [1])
    await connection.disconnect()
  } finally {
    restart()
  }
})

test('after 5 s a listener still gets what comes later', async () => {
  const pass = stopTime()
  try {
    const { connection, link } = await peer.connect()
    pass(5_000)
    const got = []
    connection.on('message', ({ topic }) => got.push(topic))
    link.send(stored(1))
    await handedOut(connection, link)
    assert.deepEqual(got, ['t'])
    await connection.disconnect()
  } finally {
    restart()
  }
})

test('a message for a use that has just ended is acknowledged, not kept', async () => {
  const { connection, link } = await peer.connect()
  const subscribing = connection.subscribe('t', {}, () => {})
  await link.grant()
  const leaving = (await subscribing).unsubscribe()
  link.send(stored(1))
  const { messageId } = await link.expect('unsubscribe')
  assert.equal((await link.expect('puback')).messageId, 1)
  link.send({ cmd: 'unsuback', messageId, granted: [0] })
  await leaving
  await connection.disconnect()
})
