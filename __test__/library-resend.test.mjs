import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { sentSoFar, settled, startEndingPeer } from './support/scripted-peer.mjs'

const peer = await startEndingPeer()
after(() => peer.close())

/** Publishes on these topics and takes the packets, unacknowledged. */
async function unacknowledged(connection, link, topics, options = {}) {
  const results = topics.map((topic) => connection.publish(topic, topic, options))
  const packets = []
  for (const topic of topics) {
    const packet = await link.expect('publish')
    assert.equal(packet.topic, topic)
    packets.push(packet)
  }
  return { results, packets }
}

const publishes = async (link, count) => {
  const packets = []
  while (packets.length < count) packets.push(await link.expect('publish'))
  return packets
}
const acknowledge = (link, packets) =>
  link.send(...packets.map(({ messageId }) => ({ cmd: 'puback', messageId, reasonCode: 0 })))
const ids = (packets) => packets.map(({ messageId }) => messageId)
const topics = (packets) => packets.map(({ topic }) => topic)
const dups = (packets) => packets.map(({ dup }) => dup)

for (const [what, options] of [
  ['MQTT 5', {}],
  ['MQTT 3.1.1 with cleanSession: false', { mqttVersion: 3, cleanSession: false, clientId: 'kept' }],
]) {
  test(`${what}, session present: sent again in order with dup and the same ids, before new ones`, async () => {
    const { connection, link } = await peer.connect(options)
    const { results, packets } = await unacknowledged(connection, link, ['a', 'b', 'c'])
    link.destroy()
    await once(connection, 'interrupt')
    results.push(connection.publish('d', 'd'))
    const again = await peer.welcome({ sessionPresent: true })
    const resent = await publishes(again, 4)
    assert.deepEqual(topics(resent), ['a', 'b', 'c', 'd'])
    assert.deepEqual(ids(resent.slice(0, 3)), ids(packets))
    assert.deepEqual(dups(resent), [true, true, true, false])
    assert.deepEqual(
      resent.map(({ payload }) => payload.toString()),
      ['a', 'b', 'c', 'd'],
    )
    assert.ok(!ids(packets).includes(resent[3].messageId))
    acknowledge(again, resent)
    await Promise.all(results)
    await connection.disconnect()
  })

  test(`${what}, session lost: sent again in order as if for the first time, before new ones`, async () => {
    const { connection, link } = await peer.connect(options)
    const { results } = await unacknowledged(connection, link, ['a', 'b', 'c'])
    link.destroy()
    await once(connection, 'interrupt')
    results.push(connection.publish('d', 'd'))
    const again = await peer.welcome({ sessionPresent: false })
    const resent = await publishes(again, 4)
    assert.deepEqual(topics(resent), ['a', 'b', 'c', 'd'])
    assert.deepEqual(dups(resent), [false, false, false, false])
    assert.equal(new Set(ids(resent)).size, 4)
    acknowledge(again, resent)
    assert.deepEqual(
      (await Promise.all(results)).map(({ packetId }) => packetId),
      ids(resent),
    )
    await connection.disconnect()
  })
}

test('MQTT 3.1.1 with cleanSession: what was not acknowledged is sent again all the same', async () => {
  const { connection, link } = await peer.connect({ mqttVersion: 3 })
  const { results } = await unacknowledged(connection, link, ['a', 'b'])
  link.destroy()
  const again = await peer.welcome()
  const resent = await publishes(again, 2)
  assert.deepEqual(topics(resent), ['a', 'b'])
  assert.deepEqual(dups(resent), [false, false])
  acknowledge(again, resent)
  await Promise.all(results)
  await connection.disconnect()
})

test('what was acknowledged is not sent again', async () => {
  const { connection, link } = await peer.connect()
  const { results, packets } = await unacknowledged(connection, link, ['a', 'b', 'c'])
  acknowledge(link, [packets[1]])
  await results[1]
  link.destroy()
  const again = await peer.welcome({ sessionPresent: true })
  const resent = await publishes(again, 2)
  assert.deepEqual(ids(resent), [packets[0].messageId, packets[2].messageId])
  acknowledge(again, resent)
  await Promise.all(results)
  assert.deepEqual(await sentSoFar(connection, again), [])
  await connection.disconnect()
})

test('what is lost several times is sent each time, in the order of the first', async () => {
  const { connection, link } = await peer.connect()
  const { results, packets } = await unacknowledged(connection, link, ['a', 'b', 'c', 'd'])
  link.destroy()
  const second = await peer.welcome({ sessionPresent: true })
  const [first] = await publishes(second, 4)
  acknowledge(second, [first])
  await results[0]
  second.destroy()
  const third = await peer.welcome({ sessionPresent: true })
  const resent = await publishes(third, 3)
  assert.deepEqual(ids(resent), ids(packets.slice(1)))
  acknowledge(third, resent)
  await Promise.all(results)
  await connection.disconnect()
})

test('a session that is lost after one that was kept: the order stays', async () => {
  const { connection, link } = await peer.connect()
  const { results } = await unacknowledged(connection, link, ['a', 'b', 'c'])
  link.destroy()
  const second = await peer.welcome({ sessionPresent: true })
  const [first] = await publishes(second, 3)
  acknowledge(second, [first])
  await results[0]
  results.push(connection.publish('d', 'd'))
  await publishes(second, 1)
  second.destroy()
  const third = await peer.welcome({ sessionPresent: false })
  const resent = await publishes(third, 3)
  assert.deepEqual(topics(resent), ['b', 'c', 'd'])
  assert.deepEqual(dups(resent), [false, false, false])
  acknowledge(third, resent)
  await Promise.all(results)
  await connection.disconnect()
})

test('a Receive Maximum that has shrunk holds for what is sent again', async () => {
  const { connection, link } = await peer.connect({ onMessage: () => {} })
  const { results, packets } = await unacknowledged(connection, link, ['a', 'b', 'c', 'd', 'e'])
  link.destroy()
  const again = await peer.welcome({ sessionPresent: true, properties: { receiveMaximum: 2 } })
  results.push(connection.publish('f', 'f'))
  const resent = await publishes(again, 2)
  await settled(again)
  for (let next = 2; next < 6; next++) {
    acknowledge(again, [resent[next - 2]])
    resent.push(...(await publishes(again, 1)))
    await settled(again)
  }
  assert.deepEqual(topics(resent), ['a', 'b', 'c', 'd', 'e', 'f'])
  assert.deepEqual(ids(resent.slice(0, 5)), ids(packets))
  assert.deepEqual(dups(resent), [true, true, true, true, true, false])
  acknowledge(again, resent.slice(4))
  await Promise.all(results)
  assert.equal(connection.negotiated.inFlight, 2)
  await connection.disconnect()
})

test('on a live link nothing is sent twice, however long the acknowledgement takes', async () => {
  const { connection, link } = await peer.connect({ ackTimeoutMs: 20 })
  const { results, packets } = await unacknowledged(connection, link, ['a'])
  await assert.rejects(results[0], { code: 'ERR_ACK_TIMEOUT', stage: 'operation' })
  assert.deepEqual(await sentSoFar(connection, link), [])
  acknowledge(link, packets)
  await connection.disconnect()
})

test('an acknowledgement behind its timeout settles nothing else, and its id was not used meanwhile', async () => {
  const { connection, link } = await peer.connect({ ackTimeoutMs: 300 })
  const late = await unacknowledged(connection, link, ['late'])
  await assert.rejects(late.results[0], { code: 'ERR_ACK_TIMEOUT' })
  const { results, packets } = await unacknowledged(connection, link, ['a', 'b'])
  assert.equal(new Set(ids([...late.packets, ...packets])).size, 3)
  link.send({ cmd: 'puback', messageId: late.packets[0].messageId, reasonCode: 0x87 })
  acknowledge(link, packets)
  assert.deepEqual(
    (await Promise.all(results)).map(({ packetId, reasonCode }) => [packetId, reasonCode]),
    packets.map(({ messageId }) => [messageId, 0]),
  )
  await connection.disconnect()
})

test('what has timed out makes room for others', async () => {
  const { connection, link } = await peer.connect(
    { ackTimeoutMs: 200 },
    { properties: { receiveMaximum: 1 } },
  )
  const { results } = await unacknowledged(connection, link, ['late'])
  const next = connection.publish('next', '')
  await assert.rejects(results[0], { code: 'ERR_ACK_TIMEOUT' })
  assert.equal((await link.acknowledge()).topic, 'next')
  await next
  await connection.disconnect()
})

test('the time for an acknowledgement stands still without a connection', async () => {
  const { connection, link } = await peer.connect({ ackTimeoutMs: 400 })
  const { results } = await unacknowledged(connection, link, ['a'])
  link.destroy()
  const attempt = await peer.accept()
  await attempt.expect('connect')
  // Another publish times out on a connection of its own: as long as that has this one been without.
  const other = await peer.connect({ ackTimeoutMs: 400 })
  await assert.rejects(other.connection.publish('b', ''), { code: 'ERR_ACK_TIMEOUT' })
  await other.connection.disconnect()
  attempt.send({ cmd: 'connack', reasonCode: 0, sessionPresent: true })
  await attempt.acknowledge()
  assert.equal((await results[0]).reasonCode, 0)
  await connection.disconnect()
})

test('acknowledgements of what is sent again may come in any order', async () => {
  const { connection, link } = await peer.connect()
  const { results } = await unacknowledged(connection, link, ['a', 'b', 'c'])
  link.destroy()
  const again = await peer.welcome({ sessionPresent: true })
  const resent = await publishes(again, 3)
  const codes = [0, 16, 0x87]
  for (const at of [2, 0, 1]) {
    again.send({ cmd: 'puback', messageId: resent[at].messageId, reasonCode: codes[at] })
  }
  const [a, b, c] = await Promise.allSettled(results)
  assert.deepEqual([a.value.reasonCode, b.value.reasonCode], [0, 16])
  assert.deepEqual([c.reason.code, c.reason.reasonCode], ['ERR_PUBLISH_REJECTED', 0x87])
  await connection.disconnect()
})

test('acknowledgements for ids that nobody uses change nothing, right behind a reconnect too', async () => {
  const { connection, link } = await peer.connect()
  const { results, packets } = await unacknowledged(connection, link, ['a'])
  link.destroy()
  const again = await peer.welcome({ sessionPresent: true })
  again.send(
    { cmd: 'puback', messageId: 65_535, reasonCode: 0 },
    { cmd: 'suback', messageId: 65_534, granted: [0] },
    { cmd: 'unsuback', messageId: 65_533, granted: [0] },
  )
  assert.deepEqual(ids([await again.acknowledge()]), ids(packets))
  await Promise.all(results)
  assert.equal(connection.state, 'connected')
  await connection.disconnect()
})

for (const [code, expected] of [
  [0x42, { status: 'fulfilled', reasonCode: 0x42 }],
  [0xc5, { status: 'rejected', code: 'ERR_PUBLISH_REJECTED', reasonCode: 0xc5 }],
]) {
  test(`a PUBACK with the code 0x${code.toString(16)}, which MQTT does not know, is ${expected.status}`, async () => {
    const { connection, link } = await peer.connect()
    const publishing = connection.publish('a', '')
    await link.acknowledge(code)
    const [{ status, value, reason }] = await Promise.allSettled([publishing])
    const shown = status === 'rejected' ? { code: reason.code } : {}
    assert.deepEqual({ status, ...shown, reasonCode: (value ?? reason).reasonCode }, expected)
    assert.equal(connection.state, 'connected')
    await connection.disconnect()
  })
}

test("the server's own words in PUBACK reach the result", async () => {
  const { connection, link } = await peer.connect()
  const publishing = connection.publish('a', '')
  const { messageId } = await link.expect('publish')
  link.send({
    cmd: 'puback',
    messageId,
    reasonCode: 16,
    properties: { reasonString: 'nobody is there', userProperties: { any: 'thing' } },
  })
  assert.deepEqual(await publishing, {
    packetId: messageId,
    reasonCode: 16,
    reasonString: 'nobody is there',
  })
  await connection.disconnect()
})

test("the server's own words in SUBACK and UNSUBACK reach the result", async () => {
  const { connection, link } = await peer.connect()
  const subscribing = connection.subscribe(['a', 'b'], {}, () => {})
  const { messageId } = await link.expect('subscribe')
  link.send({ cmd: 'suback', messageId, granted: [1, 0], properties: { reasonString: 'be welcome' } })
  const subscription = await subscribing
  assert.equal(subscription.reasonString, 'be welcome')
  const leaving = connection.unsubscribe(['a', 'b'])
  const unsubscribe = await link.expect('unsubscribe')
  link.send({
    cmd: 'unsuback',
    messageId: unsubscribe.messageId,
    granted: [0, 17],
    properties: { reasonString: 'farewell' },
  })
  const { reasonCodes, reasonString } = await leaving
  assert.deepEqual({ reasonCodes, reasonString }, { reasonCodes: [0, 17], reasonString: 'farewell' })
  await connection.disconnect()
})

test('without words of the server there is no reasonString', async () => {
  const { connection, link } = await peer.connect()
  const subscribing = connection.subscribe('a', {}, () => {})
  await link.grant()
  assert.equal((await subscribing).reasonString, undefined)
  const publishing = connection.publish('a', '')
  await link.acknowledge()
  assert.ok(!('reasonString' in (await publishing)))
  const leaving = connection.unsubscribe('a')
  await link.grantUnsubscribe()
  assert.ok(!('reasonString' in (await leaving)))
  await connection.disconnect()
})

test('SUBSCRIBE and UNSUBSCRIBE without an answer are sent again on the next connection, in order', async () => {
  const { connection, link } = await peer.connect()
  const first = connection.subscribe('a', {}, () => {})
  await link.grant()
  await first
  const second = connection.subscribe('b', {}, () => {})
  await link.expect('subscribe')
  const leaving = connection.unsubscribe('a')
  await link.expect('unsubscribe')
  link.destroy()
  const again = await peer.welcome({ sessionPresent: true })
  assert.deepEqual(
    (await again.grant()).subscriptions.map(({ topic }) => topic),
    ['b'],
  )
  assert.deepEqual((await again.grantUnsubscribe()).unsubscriptions, ['a'])
  await second
  await leaving
  await connection.disconnect()
})

test('a publish that is aborted once it was sent rejects, and keeps its id until it is acknowledged', async () => {
  const { connection, link } = await peer.connect()
  const controller = new AbortController()
  const reason = new Error('changed my mind')
  const aborted = connection.publish('aborted', '', { signal: controller.signal })
  const rejected = assert.rejects(aborted, (error) => error === reason)
  const { messageId } = await link.expect('publish')
  link.destroy()
  const attempt = await peer.accept()
  await attempt.expect('connect')
  controller.abort(reason)
  await rejected
  attempt.send({ cmd: 'connack', reasonCode: 0, sessionPresent: true })
  const resent = await attempt.acknowledge()
  assert.deepEqual([resent.topic, resent.messageId, resent.dup], ['aborted', messageId, true])
  assert.deepEqual(await sentSoFar(connection, attempt), [])
  await connection.disconnect()
})

test('1,000 publishes over connections that are lost again and again resolve, in order, each once', async () => {
  const COUNT = 1_000
  const { connection, link } = await peer.connect({}, { properties: { receiveMaximum: 50 } })
  const results = Array.from({ length: COUNT }, (_, index) => connection.publish('t', String(index)))
  const seen = []
  let current = link
  while (seen.length < COUNT) {
    // What is acknowledged in this round, before the connection is lost.
    for (let each = 0; each < 75 && seen.length < COUNT; each++) {
      const packet = await current.expect('publish')
      seen.push(Number(packet.payload.toString()))
      acknowledge(current, [packet])
      if (each % 10 === 0) await results[seen.at(-1)]
    }
    await results[seen.at(-1)]
    if (seen.length === COUNT) break
    current.destroy()
    current = await peer.welcome({ sessionPresent: true, properties: { receiveMaximum: 50 } })
  }
  await Promise.all(results)
  assert.deepEqual(
    seen,
    Array.from({ length: COUNT }, (_, index) => index),
  )
  await connection.disconnect()
})
