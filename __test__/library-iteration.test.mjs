import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { sentSoFar, startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

const publish = (payload, more = {}) => ({ cmd: 'publish', topic: 't', payload, ...more })
const stored = (messageId) => publish(String(messageId), { qos: 1, messageId })

async function iterate(options, connack) {
  const { connection, link } = await peer.connect(options, connack)
  const subscribing = connection.subscribe('t')
  await link.grant()
  return { connection, link, subscription: await subscribing }
}

test('messages come in order, those that came before the loop too', async () => {
  const { connection, link, subscription } = await iterate()
  link.send(publish('1'), publish('2'))
  const got = []
  for await (const { payload } of subscription) {
    got.push(payload.toString())
    if (got.length === 2) link.send(publish('3'))
    if (got.length === 3) {
      // What the end of the loop waits for.
      void link.grantUnsubscribe()
      break
    }
  }
  assert.deepEqual(got, ['1', '2', '3'])
  await connection.disconnect()
})

test('leaving the loop unsubscribes, and what was not read is given back', async () => {
  const { connection, link, subscription } = await iterate()
  link.send(stored(1), stored(2), stored(3))
  const looping = (async () => {
    for await (const message of subscription) return message.payload.toString()
  })()
  for (const expected of [1, 2, 3]) assert.equal((await link.expect('puback')).messageId, expected)
  assert.deepEqual((await link.grantUnsubscribe()).unsubscriptions, ['t'])
  assert.equal(await looping, '1')
  await connection.disconnect()
})

test('one message, then unsubscribe: it is acknowledged', async () => {
  const { connection, link, subscription } = await iterate()
  link.send(stored(1))
  await subscription[Symbol.asyncIterator]().next()
  const leaving = subscription.unsubscribe()
  assert.equal((await link.expect('puback')).messageId, 1)
  await link.grantUnsubscribe()
  await leaving
  await connection.disconnect()
})

test('an exception in the loop unsubscribes and comes through', async () => {
  const { connection, link, subscription } = await iterate()
  link.send(publish('x'))
  const looping = (async () => {
    for await (const message of subscription) throw new Error(`cannot digest ${message.payload}`)
  })()
  await link.grantUnsubscribe()
  await assert.rejects(looping, { message: 'cannot digest x' })
  await connection.disconnect()
})

test('a message is acknowledged when the loop asks for the next one', async () => {
  const { connection, link, subscription } = await iterate()
  link.send(stored(1), stored(2))
  const reader = subscription[Symbol.asyncIterator]()
  await reader.next()
  assert.deepEqual(await sentSoFar(connection, link), [])
  await reader.next()
  const acks = async () => (await sentSoFar(connection, link)).map(({ messageId }) => messageId)
  assert.deepEqual(await acks(), [1])
  void reader.next()
  assert.deepEqual(await acks(), [2])
  await connection.disconnect()
})

test('several next() at a time get a message each, and each is acknowledged', async () => {
  const { connection, link, subscription } = await iterate()
  const reader = subscription[Symbol.asyncIterator]()
  const reading = [reader.next(), reader.next(), reader.next()]
  link.send(stored(1), stored(2), stored(3))
  const got = await Promise.all(reading)
  assert.deepEqual(
    got.map(({ value }) => value.payload.toString()),
    ['1', '2', '3'],
  )
  void reader.next()
  assert.deepEqual(
    (await sentSoFar(connection, link)).map(({ messageId }) => messageId),
    [1, 2, 3],
  )
  await connection.disconnect()
})

test('of two loops over one subscription neither acknowledges what the other is busy with', async () => {
  const { connection, link, subscription } = await iterate()
  const [first, second] = [subscription[Symbol.asyncIterator](), subscription[Symbol.asyncIterator]()]
  const reading = [first.next(), second.next()]
  link.send(stored(1), stored(2))
  await Promise.all(reading)
  void second.next()
  assert.deepEqual(await sentSoFar(connection, link), [])
  void first.next()
  assert.deepEqual(
    (await sentSoFar(connection, link)).map(({ messageId }) => messageId),
    [1, 2],
  )
  await connection.disconnect()
})

test('disconnect() ends a loop that waits', async () => {
  const { connection, subscription } = await iterate()
  const looping = (async () => {
    for await (const message of subscription) assert.fail(message.topic)
  })()
  await connection.disconnect()
  await looping
})

test('a lost connection ends the loop with its error, after what was there', async () => {
  const { connection, link, subscription } = await iterate({ reconnect: false })
  link.send(publish('1'), publish('2'))
  link.end()
  const { error } = await connection.closed
  assert.equal(error.code, 'ERR_CONNECTION_LOST')
  const got = []
  await assert.rejects(
    async () => {
      for await (const { payload } of subscription) got.push(payload.toString())
    },
    (rejected) => rejected === error,
  )
  assert.deepEqual(got, ['1', '2'])
})

test('after its end a subscription gives nothing more', async () => {
  const { connection, link, subscription } = await iterate()
  const leaving = subscription.unsubscribe()
  await link.grantUnsubscribe()
  await leaving
  const reader = subscription[Symbol.asyncIterator]()
  assert.deepEqual(await reader.next(), { done: true, value: undefined })
  assert.deepEqual(await reader.return(), { done: true, value: undefined })
  await connection.disconnect()
})

test('with receive.maxMessages the server is told, and no more than that is read ahead', async () => {
  const { connection, link, subscription } = await iterate({ receive: { maxMessages: 2 } })
  const reader = subscription[Symbol.asyncIterator]()
  // The third comes against the window: it has to wait, and nothing is lost.
  link.send(stored(1), stored(2), stored(3), stored(4))
  const got = []
  for (let count = 0; count < 4; count++) got.push((await reader.next()).value.payload.toString())
  assert.deepEqual(got, ['1', '2', '3', '4'])
  assert.equal(connection.stats().dropped, 0)
  await connection.disconnect()
})

test('receive.maxMessages is Receive Maximum, receive.maxBytes Maximum Packet Size', async () => {
  const { connection, connect } = await peer.connect({ receive: { maxMessages: 7, maxBytes: 70_000 } })
  assert.equal(connect.properties.receiveMaximum, 7)
  assert.equal(connect.properties.maximumPacketSize, 70_000)
  await connection.disconnect()
})

test('publishing in a loop without credit goes on: acknowledgements never wait behind messages', async () => {
  const { connection, link, subscription } = await iterate({ receive: { maxMessages: 1 } })
  link.send(stored(1), stored(2), stored(3))
  const answering = (async () => {
    const answers = []
    while (answers.length < 3) {
      const packet = await link.expect('publish').catch(() => undefined)
      if (packet === undefined) continue
      answers.push(packet.payload.toString())
      link.send({ cmd: 'puback', messageId: packet.messageId, reasonCode: 0 })
    }
    return answers
  })()
  const reader = subscription[Symbol.asyncIterator]()
  for (let count = 0; count < 3; count++) {
    const { value } = await reader.next()
    await connection.publish('answer', value.payload)
  }
  assert.deepEqual(await answering, ['1', '2', '3'])
  await connection.disconnect()
})

test('a loop can be left while the connection is lost', async () => {
  const { connection, link } = await peer.connect({ reconnect: { minDelayMs: 100_000 } })
  const granting = connection.subscribe('a')
  await link.grant()
  const subscription = await granting
  link.send({ cmd: 'publish', topic: 'a', payload: '' })
  for await (const message of subscription) {
    assert.equal(message.topic, 'a')
    const lost = once(connection, 'interrupt')
    link.destroy()
    await lost
    break
  }
  assert.equal(connection.state, 'reconnecting')
  await connection.disconnect()
})
