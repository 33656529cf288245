import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { sentSoFar, startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

async function subscribe(connection, link, filter, handler) {
  const subscribing = connection.subscribe(filter, {}, handler)
  await link.grant()
  return subscribing
}

test('the last use of a filter unsubscribes from the server, an earlier one does not', async () => {
  const { connection, link } = await peer.connect()
  const first = await subscribe(connection, link, 't', () => {})
  const second = await subscribe(connection, link, 't', () => {})
  await first.unsubscribe()
  assert.deepEqual(await sentSoFar(connection, link), [])
  const leaving = second.unsubscribe()
  assert.deepEqual((await link.grantUnsubscribe()).unsubscriptions, ['t'])
  await leaving
  await connection.disconnect()
})

test('of several filters only those that nobody else uses are given up', async () => {
  const { connection, link } = await peer.connect()
  const first = await subscribe(connection, link, ['a', 'b', 'c'], () => {})
  await subscribe(connection, link, 'b', () => {})
  const leaving = first.unsubscribe()
  assert.deepEqual((await link.grantUnsubscribe()).unsubscriptions, ['a', 'c'])
  await leaving
  await connection.disconnect()
})

test('unsubscribing twice is one UNSUBSCRIBE', async () => {
  const { connection, link } = await peer.connect()
  const subscription = await subscribe(connection, link, 't', () => {})
  const leaving = [subscription.unsubscribe(), subscription.unsubscribe()]
  await link.grantUnsubscribe()
  await Promise.all(leaving)
  await subscription.unsubscribe()
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect()
})

test('disposing of a subscription unsubscribes', async () => {
  const { connection, link } = await peer.connect()
  const subscription = await subscribe(connection, link, 't', () => {})
  const leaving = subscription[Symbol.asyncDispose]()
  await link.grantUnsubscribe()
  await leaving
  await connection.disconnect()
})

test('a handler gets nothing any more from the moment of unsubscribe on', async () => {
  const { connection, link } = await peer.connect()
  const got = []
  const subscription = await subscribe(connection, link, 't', () => got.push('handler'))
  const leaving = subscription.unsubscribe()
  const arriving = new Promise((resolve) => connection.once('message', resolve))
  link.send({ cmd: 'publish', topic: 't', payload: 'late' })
  await arriving
  await link.grantUnsubscribe()
  await leaving
  assert.deepEqual(got, [])
  await connection.disconnect()
})

test('connection.unsubscribe ends every use and gives the codes of the server', async () => {
  const { connection, link } = await peer.connect()
  const got = []
  const loop = await subscribe(connection, link, 't')
  const handled = await subscribe(connection, link, 't', () => got.push('handler'))
  const leaving = connection.unsubscribe('t')
  const { messageId } = await link.expect('unsubscribe')
  link.send({ cmd: 'unsuback', messageId, granted: [17] })
  assert.deepEqual(await leaving, { reasonCodes: [17], packet_id: messageId })
  assert.deepEqual(await loop[Symbol.asyncIterator]().next(), { done: true, value: undefined })
  await handled.unsubscribe()
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect()
})

test('MQTT 3.1.1 has no codes: each is 0', async () => {
  const { connection, link } = await peer.connect({ mqttVersion: 3 })
  const leaving = connection.unsubscribe(['a', 'b'])
  const { messageId } = await link.grantUnsubscribe()
  assert.deepEqual(await leaving, { reasonCodes: [0, 0], packet_id: messageId })
  await connection.disconnect()
})

test('a use of two filters goes on with the one that is left', async () => {
  const { connection, link } = await peer.connect()
  const got = []
  const subscription = await subscribe(connection, link, ['a', 'b'], ({ topic }) => got.push(topic))
  const leaving = connection.unsubscribe('a')
  await link.grantUnsubscribe()
  await leaving
  const arriving = new Promise((resolve) => connection.once('message', resolve))
  link.send({ cmd: 'publish', topic: 'b', payload: '' })
  await arriving
  assert.deepEqual(got, ['b'])
  const ending = subscription.unsubscribe()
  assert.deepEqual((await link.grantUnsubscribe()).unsubscriptions, ['b'])
  await ending
  await connection.disconnect()
})

test('more than 8 filters are given up in several packets', async () => {
  const { connection, link } = await peer.connect()
  const filters = Array.from({ length: 9 }, (_, index) => `f/${index}`)
  const leaving = connection.unsubscribe(filters)
  const packets = [await link.grantUnsubscribe(), await link.grantUnsubscribe()]
  assert.deepEqual(
    packets.flatMap(({ unsubscriptions }) => unsubscriptions),
    filters,
  )
  assert.equal((await leaving).reasonCodes.length, 9)
  await connection.disconnect()
})

test('subscribing again while the server is still being told keeps the new use', async () => {
  const { connection, link } = await peer.connect()
  const got = []
  const first = await subscribe(connection, link, 't', () => got.push('first'))
  const leaving = first.unsubscribe()
  const coming = connection.subscribe('t', {}, () => got.push('second'))
  await link.grantUnsubscribe()
  await link.grant()
  await Promise.all([leaving, coming])
  const arriving = new Promise((resolve) => connection.once('message', resolve))
  link.send({ cmd: 'publish', topic: 't', payload: '' })
  await arriving
  assert.deepEqual(got, ['second'])
  await connection.disconnect()
})

test('unsubscribing after the connection has ended is quiet', async () => {
  const { connection, link } = await peer.connect()
  const subscription = await subscribe(connection, link, 't', () => {})
  await connection.disconnect()
  await subscription.unsubscribe()
})

test('a connection that ends while the server is being told is quiet for the one who left', async () => {
  const { connection, link } = await peer.connect({ reconnect: false })
  const subscription = await subscribe(connection, link, 't', () => {})
  const leaving = subscription.unsubscribe()
  await link.expect('unsubscribe')
  link.destroy()
  await leaving
  await connection.closed
})

for (const [what, filters, code] of [
  ['no filter', [], 'ERR_INVALID_TOPIC'],
  ['a broken filter', 'a/#/b', 'ERR_INVALID_TOPIC'],
  ['no string', 42, 'ERR_INVALID_OPTION'],
]) {
  test(`${what}: unsubscribe rejects`, async () => {
    const { connection } = await peer.connect()
    await assert.rejects(connection.unsubscribe(filters), { code })
    await connection.disconnect()
  })
}

test('who waits for an UNSUBACK that a lost connection does not bring need not wait any more', async () => {
  const { connection, link } = await peer.connect({ reconnect: { minDelayMs: 100_000 } })
  const granting = connection.subscribe('a', {}, () => {})
  await link.grant()
  const subscription = await granting
  const leaving = subscription.unsubscribe()
  await link.expect('unsubscribe')
  link.destroy()
  await leaving
  assert.equal(connection.state, 'reconnecting')
  await connection.disconnect()
})
