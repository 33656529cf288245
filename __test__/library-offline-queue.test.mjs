import assert from 'node:assert/strict'
import { getEventListeners, once } from 'node:events'
import { after, test } from 'node:test'
import { sentSoFar, startEndingPeer, until } from './support/scripted-peer.mjs'

const peer = await startEndingPeer()
after(() => peer.close())

/** A connection that is lost, and `back`, which lets its next attempt succeed. */
async function offline(options = {}) {
  const { connection, link } = await peer.connect(options)
  link.destroy()
  const attempt = await peer.accept()
  await attempt.expect('connect')
  while (connection.state === 'connected') await new Promise((resolve) => setImmediate(resolve))
  const back = async (connack = {}) => {
    attempt.send({ cmd: 'connack', returnCode: 0, reasonCode: 0, sessionPresent: true, ...connack })
    await once(connection, 'resume')
    return attempt
  }
  return { connection, back }
}

const topicsOf = (packets) => packets.map(({ topic }) => topic)

for (const mqttVersion of [3, 5]) {
  test(`MQTT ${mqttVersion}: QoS 1 waits for the next connection, and goes out in order`, async () => {
    const { connection, back } = await offline({ mqttVersion })
    const results = ['a', 'b', 'c'].map((topic) => connection.publish(topic, topic))
    const link = await back({ sessionPresent: false })
    for (const topic of ['a', 'b', 'c']) {
      const packet = await link.acknowledge()
      assert.deepEqual([packet.topic, packet.dup], [topic, false])
    }
    await Promise.all(results)
    await connection.disconnect()
  })
}

test('the bytes of what waits are those of the call', async () => {
  const { connection, back } = await offline()
  const bytes = Buffer.from('then')
  const publishing = connection.publish('a', bytes)
  bytes.fill('x')
  const link = await back()
  assert.equal((await link.acknowledge()).payload.toString(), 'then')
  await publishing
  await connection.disconnect()
})

test('subscribe and unsubscribe wait too, in their place', async () => {
  const { connection, back } = await offline()
  const results = [
    connection.publish('a', ''),
    connection.subscribe('t', {}, () => {}),
    connection.unsubscribe('other'),
    connection.publish('b', ''),
  ]
  const link = await back()
  assert.equal((await link.acknowledge()).topic, 'a')
  await link.grant()
  await link.grantUnsubscribe()
  assert.equal((await link.acknowledge()).topic, 'b')
  await Promise.all(results)
  await connection.disconnect()
})

test('QoS 0 rejects with ERR_NOT_CONNECTED, and is not sent later', async () => {
  const { connection, back } = await offline()
  await assert.rejects(connection.publish('a', '', { qos: 0 }), {
    name: 'MqttError',
    code: 'ERR_NOT_CONNECTED',
    stage: 'operation',
    retryable: true,
    message: /"a"/,
  })
  const link = await back()
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect()
})

test('QoS 0 rejects before the first connection too', async () => {
  const connection = await peer.dial({ initialConnect: 'background' })
  await assert.rejects(connection.publish('a', '', { qos: 0 }), { code: 'ERR_NOT_CONNECTED' })
  const link = await peer.welcome()
  await once(connection, 'connect')
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect()
})

test("queue.qos0 'queue': QoS 0 waits, in its place among the others", async () => {
  const { connection, back } = await offline({ queue: { qos0: 'queue' } })
  const results = [
    connection.publish('a', ''),
    connection.publish('b', '', { qos: 0 }),
    connection.publish('c', ''),
  ]
  const link = await back()
  const packets = [await link.acknowledge(), await link.expect('publish'), await link.acknowledge()]
  assert.deepEqual(
    packets.map(({ topic, qos }) => `${topic} ${qos}`),
    ['a 1', 'b 0', 'c 1'],
  )
  const [, qos0] = await Promise.all(results)
  assert.equal(qos0.packetId, 0)
  await connection.disconnect()
})

test('QoS 0 that waits when the connection is lost rejects with ERR_NOT_CONNECTED', async () => {
  const { connection, link } = await peer.connect({}, { properties: { receiveMaximum: 1 } })
  const first = connection.publish('first', '')
  const second = connection.publish('second', '')
  const waiting = connection.publish('waiting', '', { qos: 0 })
  const rejected = assert.rejects(waiting, { code: 'ERR_NOT_CONNECTED' })
  await link.expect('publish')
  link.destroy()
  await rejected
  const again = await peer.welcome({ sessionPresent: true })
  assert.deepEqual(topicsOf([await again.acknowledge(), await again.acknowledge()]), ['first', 'second'])
  await Promise.all([first, second])
  await connection.disconnect()
})

test('stats count what waits', async () => {
  const { connection, back } = await offline()
  const results = ['a', 'b'].map((topic) => connection.publish(topic, ''))
  while (connection.stats().queued < 2) await new Promise((resolve) => setImmediate(resolve))
  const link = await back()
  for (const topic of ['a', 'b']) assert.equal((await link.acknowledge()).topic, topic)
  await Promise.all(results)
  assert.deepEqual([connection.stats().queued, connection.stats().inFlight], [0, 0])
  await connection.disconnect()
})

for (const [what, queue, payload, named] of [
  ['maxMessages', { maxMessages: 2 }, '', /queue\.maxMessages 2/],
  ['maxBytes', { maxBytes: 1_000 }, Buffer.alloc(450), /queue\.maxBytes 1000/],
]) {
  test(`queue.${what}: one more rejects with ERR_QUEUE_FULL, those before it are sent`, async () => {
    const { connection, back } = await offline({ queue })
    const results = ['a', 'b'].map((topic) => connection.publish(topic, payload))
    await assert.rejects(connection.publish('c', payload), {
      code: 'ERR_QUEUE_FULL',
      retryable: true,
      message: named,
    })
    const link = await back()
    assert.deepEqual(topicsOf([await link.acknowledge(), await link.acknowledge()]), ['a', 'b'])
    await Promise.all(results)
    const later = connection.publish('d', payload)
    assert.equal((await link.acknowledge()).topic, 'd')
    await later
    await connection.disconnect()
  })

  test(`queue.${what} with drop-oldest: the oldest rejects, the newest are sent`, async () => {
    const { connection, back } = await offline({ queue: { ...queue, whenFull: 'drop-oldest' } })
    const results = ['a', 'b', 'c', 'd'].map((topic) => connection.publish(topic, payload))
    const [a, b] = await Promise.allSettled(results.slice(0, 2))
    assert.deepEqual([a.reason?.code, b.reason?.code], ['ERR_QUEUE_FULL', 'ERR_QUEUE_FULL'])
    assert.match(a.reason.message, /"a"/)
    const link = await back()
    assert.deepEqual(topicsOf([await link.acknowledge(), await link.acknowledge()]), ['c', 'd'])
    await Promise.all(results.slice(2))
    await connection.disconnect()
  })
}

test('drop-oldest drops nothing that is on its way', async () => {
  const { connection, link } = await peer.connect({ queue: { maxMessages: 2, whenFull: 'drop-oldest' } })
  const sent = ['a', 'b'].map((topic) => connection.publish(topic, ''))
  const packets = [await link.expect('publish'), await link.expect('publish')]
  link.destroy()
  await once(connection, 'interrupt')
  await assert.rejects(connection.publish('c', ''), { code: 'ERR_QUEUE_FULL' })
  const again = await peer.welcome({ sessionPresent: true })
  const resent = [await again.acknowledge(), await again.acknowledge()]
  assert.deepEqual(
    resent.map(({ messageId }) => messageId),
    packets.map(({ messageId }) => messageId),
  )
  await Promise.all(sent)
  await connection.disconnect()
})

test('drop-oldest drops no subscription', async () => {
  const { connection, back } = await offline({ queue: { maxMessages: 2, whenFull: 'drop-oldest' } })
  const subscribing = connection.subscribe('t', {}, () => {})
  const oldest = connection.publish('a', '')
  const rejected = assert.rejects(oldest, { code: 'ERR_QUEUE_FULL' })
  const newest = connection.publish('b', '')
  await rejected
  const link = await back()
  await link.grant()
  assert.equal((await link.acknowledge()).topic, 'b')
  await Promise.all([subscribing, newest])
  await connection.disconnect()
})

for (const [name, value] of [
  ['whenFull', 'drop'],
  ['qos0', 'wait'],
  ['maxMessages', 0],
  ['maxBytes', -1],
  ['size', 1],
]) {
  test(`queue.${name} ${value}: ERR_INVALID_OPTION that names it`, async () => {
    await assert.rejects(peer.dial({ queue: { [name]: value } }), {
      code: 'ERR_INVALID_OPTION',
      message: new RegExp(`queue\\..*${name}`),
    })
  })
}

test('expiresInMs: what waits longer rejects with ERR_EXPIRED, and is not sent', async () => {
  const { connection, back } = await offline()
  const before = connection.publish('before', '')
  await assert.rejects(connection.publish('a', '', { expiresInMs: 1 }), {
    code: 'ERR_EXPIRED',
    stage: 'operation',
    message: /"a"/,
  })
  const link = await back()
  assert.equal((await link.acknowledge()).topic, 'before')
  await before
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect()
})

test('expiresInMs: what is sent in time is sent, on MQTT 3.1.1 too', async () => {
  const { connection, back } = await offline({ mqttVersion: 3 })
  const publishing = connection.publish('a', '', { expiresInMs: 600_000 })
  const link = await back({ sessionPresent: false })
  assert.equal((await link.acknowledge()).topic, 'a')
  await publishing
  await connection.disconnect()
})

test('expiresInMs runs before the first connection too, and for QoS 0 that waits', async () => {
  const connection = await peer.dial({ initialConnect: 'background', queue: { qos0: 'queue' } })
  const results = [1, 0].map((qos) => connection.publish('a', '', { qos, expiresInMs: 1 }))
  const [first, second] = await Promise.allSettled(results)
  assert.deepEqual([first.reason?.code, second.reason?.code], ['ERR_EXPIRED', 'ERR_EXPIRED'])
  await peer.welcome()
  await connection.disconnect()
})

test('expiresInMs does not end what is on its way', async () => {
  const { connection, link } = await peer.connect()
  const sent = connection.publish('sent', '', { expiresInMs: 20 })
  const { messageId } = await link.expect('publish')
  link.destroy()
  const attempt = await peer.accept()
  await attempt.expect('connect')
  // As long as this one waits, that one has waited too.
  await assert.rejects(connection.publish('waits', '', { expiresInMs: 20 }), { code: 'ERR_EXPIRED' })
  attempt.send({ cmd: 'connack', reasonCode: 0, sessionPresent: true })
  assert.equal((await attempt.acknowledge()).messageId, messageId)
  await sent
  await connection.disconnect()
})

for (const value of [0, -1, Number.NaN, Infinity, 4_294_967_296_000, '1']) {
  test(`expiresInMs ${typeof value} ${value}: ERR_INVALID_OPTION`, async () => {
    const { connection } = await peer.connect()
    await assert.rejects(connection.publish('a', '', { expiresInMs: value }), {
      code: 'ERR_INVALID_OPTION',
      message: /expiresInMs/,
    })
    await connection.disconnect()
  })
}

test('a publish that is aborted while it waits is withdrawn, and makes room', async () => {
  const { connection, back } = await offline({ queue: { maxMessages: 1 } })
  const controller = new AbortController()
  const reason = new Error('changed my mind')
  const aborted = connection.publish('aborted', '', { signal: controller.signal })
  const rejected = assert.rejects(aborted, (error) => error === reason)
  await until(() => connection.stats().queued === 1)
  controller.abort(reason)
  await rejected
  await until(() => connection.stats().queued === 0)
  const kept = connection.publish('kept', '')
  const link = await back()
  assert.equal((await link.acknowledge()).topic, 'kept')
  await kept
  assert.deepEqual(await sentSoFar(connection, link), [])
  assert.equal(getEventListeners(controller.signal, 'abort').length, 0)
  await connection.disconnect()
})

test('a subscribe that is aborted while it waits is withdrawn', async () => {
  const { connection, back } = await offline()
  const controller = new AbortController()
  const reason = new Error('changed my mind')
  const aborted = connection.subscribe('a', { signal: controller.signal }, () => {})
  controller.abort(reason)
  await assert.rejects(aborted, (error) => error === reason)
  const link = await back()
  const cmds = (await sentSoFar(connection, link)).map(({ cmd }) => cmd)
  assert.ok(!cmds.includes('subscribe'), cmds.join())
  await connection.disconnect({ force: true })
})

test('what no CONNACK can carry any more rejects alone', async () => {
  const { connection, back } = await offline()
  const payload = Buffer.alloc(500)
  const results = [
    connection.publish('large', payload),
    connection.publish('retained', '', { retain: true }),
    connection.publish('fine', ''),
  ]
  const rejected = [
    assert.rejects(results[0], { code: 'ERR_PAYLOAD_TOO_LARGE' }),
    assert.rejects(results[1], { code: 'ERR_LIMIT' }),
  ]
  const link = await back({ properties: { maximumPacketSize: 100, retainAvailable: false } })
  assert.equal((await link.acknowledge()).topic, 'fine')
  await Promise.all([...rejected, results[2]])
  await connection.disconnect()
})

test('what waits and is wrong rejects at once, without a connection too', async () => {
  const { connection, back } = await offline()
  await assert.rejects(connection.publish('a/#', ''), { code: 'ERR_INVALID_TOPIC' })
  await assert.rejects(connection.subscribe('a/#/b'), { code: 'ERR_INVALID_TOPIC' })
  const link = await back()
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect()
})

test('disconnect() without a connection settles everything that waits, and says how much', async () => {
  const { connection } = await offline({ queue: { qos0: 'queue' } })
  const results = [
    connection.publish('a', ''),
    connection.publish('b', '', { qos: 0 }),
    connection.subscribe('c', {}, () => {}),
    connection.unsubscribe('d'),
  ]
  const settling = Promise.allSettled(results)
  await connection.disconnect({ timeoutMs: 2 ** 31 - 1 })
  const codes = (await settling).map(({ reason }) => reason?.code)
  assert.deepEqual(codes, ['ERR_CLOSED', 'ERR_CLOSED', 'ERR_CLOSED', 'ERR_CLOSED'])
  assert.deepEqual(await connection.closed, { unsettled: 4 })
})
