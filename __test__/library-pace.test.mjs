import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

const publishes = (connection, count, payload = '') =>
  Promise.all(Array.from({ length: count }, () => connection.publish('t', payload, { qos: 0 })))

test('what exceeds the rate of publishes waits, all of it leaves, and stats() says what it cost', async () => {
  const { connection } = await peer.connect({ limits: { publishesPerSecond: 50 } })
  await publishes(connection, 50)
  assert.equal(connection.stats().pacedMs, 0)
  await publishes(connection, 5)
  assert.ok(connection.stats().pacedMs > 0)
  assert.equal(connection.stats().messagesSent, 55)
  await connection.disconnect()
})

test('what exceeds the rate of bytes waits as well', async () => {
  const limits = { publishesPerSecond: false, bytesPerSecond: 10_000 }
  const { connection } = await peer.connect({ limits })
  await publishes(connection, 11, 'x'.repeat(1_000))
  assert.ok(connection.stats().pacedMs > 0)
  await connection.disconnect()
})

test('without rates nothing waits', async () => {
  const limits = { publishesPerSecond: false, bytesPerSecond: false }
  const { connection } = await peer.connect({ limits })
  await publishes(connection, 1_000, 'x'.repeat(1_000))
  assert.equal(connection.stats().pacedMs, 0)
  await connection.disconnect()
})

test('the 51st subscription rejects with ERR_LIMIT, and there is room again once one is gone', async () => {
  const { connection, link } = await peer.connect()
  const many = Array.from({ length: 50 }, (_, index) => `many/${index}`)
  const granting = connection.subscribe(many, {}, () => {})
  for (let packet = 0; packet < 7; packet++) await link.grant()
  await granting
  const refused = await connection.subscribe('one/more', {}, () => {}).catch((error) => error)
  assert.equal(refused.code, 'ERR_LIMIT')
  assert.match(refused.message, /51 topic filters.*at most 50/)
  const again = connection.subscribe('many/7', {}, () => {})
  await link.grant()
  await again
  const ending = connection.unsubscribe('many/7')
  await link.grantUnsubscribe()
  await ending
  const last = connection.subscribe('one/more', {}, () => {})
  await link.grant()
  await last
  await connection.disconnect()
})

test('the number of subscriptions can be changed and turned off', async () => {
  for (const [subscriptions, code] of [
    [3, 'ERR_LIMIT'],
    [false, undefined],
  ]) {
    const { connection, link } = await peer.connect({ limits: { subscriptions } })
    const granting = connection.subscribe(['a', 'b', 'c', 'd'], {}, () => {}).catch((error) => error)
    if (code === undefined) await link.grant()
    assert.equal((await granting).code, code)
    await connection.disconnect()
  }
})

test('inFlight bounds what waits for its acknowledgement', async () => {
  const { connection, link } = await peer.connect({ limits: { inFlight: 2 } })
  assert.equal(connection.negotiated.inFlight, 2)
  const all = Promise.all(['1', '2', '3'].map((payload) => connection.publish('t', payload)))
  const sent = [await link.expect('publish'), await link.expect('publish')]
  assert.equal(connection.stats().queued, 1)
  link.send({ cmd: 'puback', messageId: sent[1].messageId })
  assert.equal((await link.expect('publish')).payload.toString(), '3')
  link.send({ cmd: 'puback', messageId: sent[0].messageId }, { cmd: 'puback', messageId: 3 })
  await all
  await connection.disconnect()
})
