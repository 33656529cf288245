import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { handedOut, sentSoFar, startEndingPeer } from './support/scripted-peer.mjs'

const peer = await startEndingPeer()
after(() => peer.close())

/** Subscribes, with every filter granted by the peer. */
async function subscribe(connection, link, filters, handler, options = {}) {
  const subscribing = connection.subscribe(filters, options, handler)
  const packets = []
  for (let left = [filters].flat().length; left > 0; left -= packets.at(-1).subscriptions.length) {
    packets.push(await link.grant())
  }
  return subscribing
}

/** The connection is lost and made again. */
async function lose(connection, link, connack = {}) {
  link.destroy()
  const again = await peer.welcome(connack)
  await once(connection, 'resume')
  return again
}

/** Collects warnings of the process of one name. */
function warnings(name) {
  const collected = []
  const listen = (warning) => warning.name === name && collected.push(warning.message)
  process.on('warning', listen)
  after(() => process.off('warning', listen))
  return collected
}

const topics = ({ subscriptions }) => subscriptions.map(({ topic }) => topic)

test('session present: no subscription is made again, and handlers go on', async () => {
  const { connection, link } = await peer.connect()
  const got = []
  await subscribe(connection, link, 't', ({ topic }) => got.push(topic))
  const again = await lose(connection, link, { sessionPresent: true })
  assert.deepEqual(await sentSoFar(connection, again), [])
  again.send({ cmd: 'publish', topic: 't', payload: '' })
  await handedOut(connection, again)
  assert.deepEqual(got, ['t'])
  await connection.disconnect()
})

for (const mqttVersion of [3, 5]) {
  test(`MQTT ${mqttVersion}, session lost: subscriptions are made again in order and with their QoS, handlers go on`, async () => {
    const { connection, link } = await peer.connect({ mqttVersion })
    const got = []
    await subscribe(connection, link, 'a', ({ topic }) => got.push(topic), { qos: 0 })
    await subscribe(connection, link, ['b/+', 'c'], ({ topic }) => got.push(topic))
    const again = await lose(connection, link)
    const { subscriptions } = await again.grant()
    assert.deepEqual(
      subscriptions.map(({ topic, qos }) => `${topic} ${qos}`),
      ['a 0', 'b/+ 1', 'c 1'],
    )
    for (const topic of ['a', 'b/x', 'c']) again.send({ cmd: 'publish', topic, payload: '' })
    await handedOut(connection, again)
    assert.deepEqual(got, ['a', 'b/x', 'c'])
    await connection.disconnect()
  })
}

test('session lost: subscriptions are made again in batches of at most 8', async () => {
  const { connection, link } = await peer.connect()
  const filters = Array.from({ length: 20 }, (_, index) => `t/${index}`)
  await subscribe(connection, link, filters, () => {})
  const again = await lose(connection, link)
  const packets = [await again.grant(), await again.grant(), await again.grant()]
  assert.deepEqual(
    packets.map(({ subscriptions }) => subscriptions.length),
    [8, 8, 4],
  )
  assert.deepEqual(packets.flatMap(topics), filters)
  assert.deepEqual(await sentSoFar(connection, again), [])
  await connection.disconnect()
})

test('session lost: subscriptions are made again before anything is published', async () => {
  const { connection, link } = await peer.connect()
  await subscribe(connection, link, 'answers', () => {})
  const first = connection.publish('first', '')
  await link.expect('publish')
  link.destroy()
  await once(connection, 'interrupt')
  const second = connection.publish('second', '')
  const again = await peer.welcome()
  await again.grant()
  assert.equal((await again.acknowledge()).topic, 'first')
  assert.equal((await again.acknowledge()).topic, 'second')
  await Promise.all([first, second])
  await connection.disconnect()
})

test('session lost: what two uses share is made again once, with the highest QoS, and both go on', async () => {
  const { connection, link } = await peer.connect()
  const got = []
  await subscribe(connection, link, 't', () => got.push('first'), { qos: 1 })
  await subscribe(connection, link, 't', () => got.push('second'), { qos: 0 })
  const again = await lose(connection, link)
  const { subscriptions } = await again.grant()
  assert.deepEqual(
    subscriptions.map(({ topic, qos }) => `${topic} ${qos}`),
    ['t 1'],
  )
  again.send({ cmd: 'publish', topic: 't', payload: '' })
  await handedOut(connection, again)
  assert.deepEqual(got, ['first', 'second'])
  await connection.disconnect()
})

test('session lost: what was unsubscribed is not made again', async () => {
  const { connection, link } = await peer.connect()
  const kept = await subscribe(connection, link, ['kept', 'given up'], () => {})
  const leaving = connection.unsubscribe('given up')
  await link.grantUnsubscribe()
  await leaving
  const again = await lose(connection, link)
  assert.deepEqual(topics(await again.grant()), ['kept'])
  assert.deepEqual(
    kept.granted.map(({ filter }) => filter),
    ['kept', 'given up'],
  )
  await connection.disconnect()
})

test('session lost: what was refused before is not made again', async () => {
  const { connection, link } = await peer.connect()
  const refused = connection.subscribe('no', {}, () => {})
  await link.grant(0x87)
  await assert.rejects(refused, { code: 'ERR_SUBSCRIBE_REJECTED' })
  const again = await lose(connection, link)
  assert.deepEqual(await sentSoFar(connection, again), [])
  await connection.disconnect()
})

test('a loop goes on over connections that are lost, with the session and without', async () => {
  const { connection, link } = await peer.connect()
  const reader = (await subscribe(connection, link, 't'))[Symbol.asyncIterator]()
  const next = async (from, payload) => {
    from.send({ cmd: 'publish', topic: 't', payload })
    const { value } = await reader.next()
    assert.equal(value.payload.toString(), payload)
  }
  await next(link, 'first')
  const waiting = reader.next()
  const kept = await lose(connection, link, { sessionPresent: true })
  kept.send({ cmd: 'publish', topic: 't', payload: 'while it waited' })
  assert.equal((await waiting).value.payload.toString(), 'while it waited')
  const again = await lose(connection, kept)
  await again.grant()
  await next(again, 'last')
  await connection.disconnect()
})

test('messages that a loop has not read yet are there behind a reconnect', async () => {
  const { connection, link } = await peer.connect()
  const reader = (await subscribe(connection, link, 't'))[Symbol.asyncIterator]()
  for (const payload of ['1', '2']) link.send({ cmd: 'publish', topic: 't', payload })
  await handedOut(connection, link)
  await lose(connection, link, { sessionPresent: true })
  for (const payload of ['1', '2']) assert.equal((await reader.next()).value.payload.toString(), payload)
  await connection.disconnect()
})

test('a loop whose subscription is not granted again throws ERR_SUBSCRIBE_REJECTED, after what was there', async () => {
  const { connection, link } = await peer.connect()
  const reader = (await subscribe(connection, link, 't'))[Symbol.asyncIterator]()
  link.send({ cmd: 'publish', topic: 't', payload: 'was there' })
  await handedOut(connection, link)
  const again = await lose(connection, link)
  await again.grant(0x87)
  assert.equal((await reader.next()).value.payload.toString(), 'was there')
  await assert.rejects(reader.next(), {
    name: 'MqttError',
    code: 'ERR_SUBSCRIBE_REJECTED',
    reasonCode: 0x87,
    message: /"t"/,
  })
  assert.deepEqual(await reader.next(), { done: true, value: undefined })
  assert.equal(connection.state, 'connected')
  await connection.disconnect()
})

test('a loop that waits is woken by the refusal of its subscription', async () => {
  const { connection, link } = await peer.connect({ mqttVersion: 3 })
  const subscription = await subscribe(connection, link, 't')
  const looping = (async () => {
    for await (const { topic } of subscription) assert.fail(topic)
  })()
  const rejected = assert.rejects(looping, { code: 'ERR_SUBSCRIBE_REJECTED', reasonCode: 0x80 })
  const again = await lose(connection, link)
  await again.grant(0x80)
  await rejected
  assert.deepEqual(await sentSoFar(connection, again), [])
  await connection.disconnect()
})

test('a loop over several filters of which one is not granted again ends, and the others are given back', async () => {
  const { connection, link } = await peer.connect()
  const reader = (await subscribe(connection, link, ['a', 'b', 'c']))[Symbol.asyncIterator]()
  const again = await lose(connection, link)
  const { messageId } = await again.expect('subscribe')
  again.send({ cmd: 'suback', messageId, granted: [1, 0x97, 1] })
  await assert.rejects(reader.next(), { code: 'ERR_SUBSCRIBE_REJECTED', message: /"b"/ })
  assert.deepEqual((await again.grantUnsubscribe()).unsubscriptions, ['a', 'c'])
  await connection.disconnect()
})

test('a handler whose subscription is not granted again: a warning of the process names the filter', async () => {
  const { connection, link } = await peer.connect()
  await subscribe(connection, link, 'gone', () => {})
  const warned = once(process, 'warning')
  const again = await lose(connection, link)
  const { messageId } = await again.expect('subscribe')
  again.send({
    cmd: 'suback',
    messageId,
    granted: [0x87],
    properties: { reasonString: 'policy has changed' },
  })
  const [{ name, message }] = await warned
  assert.equal(name, 'SubscriptionLostWarning')
  assert.match(message, /"gone".*ERR_SUBSCRIBE_REJECTED/)
  await connection.disconnect()
})

test('with a log the refusal of a subscription is logged, and there is no warning', async () => {
  const records = []
  const { connection, link } = await peer.connect({
    logLevel: 'error',
    logger: (record) => records.push(record),
  })
  const warned = warnings('SubscriptionLostWarning')
  await subscribe(connection, link, 'gone', () => {})
  const again = await lose(connection, link)
  await again.grant(0x87)
  await handedOut(connection, again)
  assert.ok(records.some(({ level, message }) => level === 'error' && /"gone"/.test(message)))
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(warned, [])
  await connection.disconnect()
})

test('a handler of several filters keeps those that are granted again', async () => {
  const { connection, link } = await peer.connect()
  const got = []
  await subscribe(connection, link, ['a', 'b'], ({ topic }) => got.push(topic))
  const warned = once(process, 'warning')
  const again = await lose(connection, link)
  const { messageId } = await again.expect('subscribe')
  again.send({ cmd: 'suback', messageId, granted: [0x87, 1] })
  await warned
  again.send({ cmd: 'publish', topic: 'b', payload: '' })
  await handedOut(connection, again)
  assert.deepEqual(got, ['b'])
  await connection.disconnect()
})

test('what was refused once is not asked for on the connections after that', async () => {
  const { connection, link } = await peer.connect()
  const reader = (await subscribe(connection, link, 'gone'))[Symbol.asyncIterator]()
  await subscribe(connection, link, 'kept', () => {})
  const second = await lose(connection, link)
  const { messageId } = await second.expect('subscribe')
  second.send({ cmd: 'suback', messageId, granted: [0x87, 1] })
  await assert.rejects(reader.next(), { code: 'ERR_SUBSCRIBE_REJECTED' })
  const third = await lose(connection, second)
  assert.deepEqual(topics(await third.grant()), ['kept'])
  await connection.disconnect()
})

test('what was refused once may be subscribed to anew', async () => {
  const { connection, link } = await peer.connect()
  const reader = (await subscribe(connection, link, 't'))[Symbol.asyncIterator]()
  const again = await lose(connection, link)
  await again.grant(0x87)
  await assert.rejects(reader.next(), { code: 'ERR_SUBSCRIBE_REJECTED' })
  const got = []
  await subscribe(connection, again, 't', ({ topic }) => got.push(topic))
  again.send({ cmd: 'publish', topic: 't', payload: '' })
  await handedOut(connection, again)
  assert.deepEqual(got, ['t'])
  await connection.disconnect()
})

test('a connection that is lost before subscriptions are granted again asks for all of them anew', async () => {
  const { connection, link } = await peer.connect()
  const filters = Array.from({ length: 10 }, (_, index) => `t/${index}`)
  await subscribe(connection, link, filters, () => {})
  const second = await lose(connection, link)
  await second.grant()
  await second.expect('subscribe')
  const third = await lose(connection, second)
  assert.deepEqual([await third.grant(), await third.grant()].flatMap(topics), filters)
  await connection.disconnect()
})

test('with the session present, what a lost connection left of making subscriptions again is finished', async () => {
  const { connection, link } = await peer.connect()
  const filters = Array.from({ length: 10 }, (_, index) => `t/${index}`)
  await subscribe(connection, link, filters, () => {})
  const second = await lose(connection, link)
  await second.grant()
  await second.expect('subscribe')
  const third = await lose(connection, second, { sessionPresent: true })
  assert.deepEqual(topics(await third.grant()), filters.slice(8))
  assert.deepEqual(await sentSoFar(connection, third), [])
  await connection.disconnect()
})

test('a use that ends without a connection is not made again, and the session that was kept is told', async () => {
  const { connection, link } = await peer.connect()
  const use = await subscribe(connection, link, 'a', () => {})
  await subscribe(connection, link, 'b', () => {})
  link.destroy()
  await once(connection, 'interrupt')
  const leaving = use.unsubscribe()
  const again = await peer.welcome({ sessionPresent: true })
  assert.deepEqual((await again.grantUnsubscribe()).unsubscriptions, ['a'])
  await leaving
  const third = await lose(connection, again)
  assert.deepEqual(topics(await third.grant()), ['b'])
  await connection.disconnect()
})
