import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { handedOut, sentSoFar, startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

const publish = (topic, payload = topic, more = {}) => ({ cmd: 'publish', topic, payload, ...more })

/** Subscribes, with every filter granted by the peer. */
async function subscribe(connection, link, ...args) {
  const subscribing = connection.subscribe(...args)
  const packet = await link.grant()
  return { subscription: await subscribing, packet }
}

for (const mqttVersion of [3, 5]) {
  test(`MQTT ${mqttVersion}: a handler gets the messages of its filter, with everything the packet says`, async () => {
    const { connection, link } = await peer.connect({ mqttVersion })
    const got = []
    const { subscription, packet } = await subscribe(connection, link, 'a/+', {}, (message) =>
      got.push(message),
    )
    assert.deepEqual(
      packet.subscriptions.map(({ topic, qos }) => ({ topic, qos })),
      [{ topic: 'a/+', qos: 1 }],
    )
    assert.deepEqual(subscription.granted, [{ filter: 'a/+', qos: 1 }])
    link.send(
      publish('a/b', 'one', { qos: 1, messageId: 7, retain: true, dup: true }),
      publish('b/c', 'other'),
      publish('a/c', 'two'),
    )
    await handedOut(connection, link)
    const shown = got.map(({ topic, payload, qos, retain, dup }) => ({
      topic,
      payload: payload.toString(),
      qos,
      retain,
      dup,
    }))
    assert.deepEqual(shown, [
      { topic: 'a/b', payload: 'one', qos: 1, retain: true, dup: true },
      { topic: 'a/c', payload: 'two', qos: 0, retain: false, dup: false },
    ])
    await connection.disconnect({ force: true })
  })
}

test('a message right behind SUBACK reaches the handler, and an earlier one too', async () => {
  const { connection, link } = await peer.connect()
  const got = []
  const subscribing = connection.subscribe('t', {}, ({ payload }) => got.push(payload.toString()))
  const { messageId } = await link.expect('subscribe')
  link.send(publish('t', 'before'), { cmd: 'suback', messageId, granted: [1] }, publish('t', 'behind'))
  await subscribing
  await handedOut(connection, link)
  assert.deepEqual(got, ['before', 'behind'])
  await connection.disconnect()
})

test('the code behind `await subscribe` runs before the messages behind SUBACK are handed out', async () => {
  const { connection, link } = await peer.connect()
  const order = []
  const subscribing = connection.subscribe('t', {}, () => order.push('message'))
  const { messageId } = await link.expect('subscribe')
  link.send({ cmd: 'suback', messageId, granted: [1] }, publish('t'))
  await subscribing
  order.push('subscribed')
  await handedOut(connection, link)
  assert.deepEqual(order, ['subscribed', 'message'])
  await connection.disconnect()
})

test('several filters are one SUBSCRIBE, and `granted` keeps their order', async () => {
  const { connection, link } = await peer.connect()
  const subscribing = connection.subscribe(['a', 'b', 'c'], { qos: 1 }, () => {})
  const { subscriptions, messageId } = await link.expect('subscribe')
  assert.deepEqual(
    subscriptions.map(({ topic }) => topic),
    ['a', 'b', 'c'],
  )
  link.send({ cmd: 'suback', messageId, granted: [0, 1, 0] })
  assert.deepEqual((await subscribing).granted, [
    { filter: 'a', qos: 0 },
    { filter: 'b', qos: 1 },
    { filter: 'c', qos: 0 },
  ])
  await connection.disconnect()
})

test('more than 8 filters go in several packets, and the subscription waits for all of them', async () => {
  const { connection, link } = await peer.connect()
  const filters = Array.from({ length: 20 }, (_, index) => `f/${index}`)
  const subscribing = connection.subscribe(filters, {}, () => {})
  const packets = [
    await link.expect('subscribe'),
    await link.expect('subscribe'),
    await link.expect('subscribe'),
  ]
  assert.deepEqual(
    packets.map(({ subscriptions }) => subscriptions.length),
    [8, 8, 4],
  )
  assert.deepEqual(
    packets.flatMap(({ subscriptions }) => subscriptions.map(({ topic }) => topic)),
    filters,
  )
  for (const { subscriptions, messageId } of packets.toReversed()) {
    link.send({ cmd: 'suback', messageId, granted: subscriptions.map(() => 1) })
  }
  assert.deepEqual(
    (await subscribing).granted.map(({ filter }) => filter),
    filters,
  )
  await connection.disconnect()
})

test('a use with overlapping filters gets a message once', async () => {
  const { connection, link } = await peer.connect()
  const got = []
  await subscribe(connection, link, ['a/#', 'a/+', 'a/b', '+/b'], {}, ({ topic }) => got.push(topic))
  link.send(publish('a/b'), publish('a/c'))
  await handedOut(connection, link)
  assert.deepEqual(got, ['a/b', 'a/c'])
  await connection.disconnect()
})

test('a filter given twice in one call counts once', async () => {
  const { connection, link } = await peer.connect()
  const got = []
  const { subscription } = await subscribe(connection, link, ['a', 'a'], {}, ({ topic }) => got.push(topic))
  link.send(publish('a'))
  await handedOut(connection, link)
  assert.deepEqual(got, ['a'])
  const leaving = subscription.unsubscribe()
  assert.deepEqual((await link.grantUnsubscribe()).unsubscriptions, ['a'])
  await leaving
  await connection.disconnect()
})

test('two uses whose filters overlap get the message each', async () => {
  const { connection, link } = await peer.connect()
  const got = []
  await subscribe(connection, link, 'a/#', {}, () => got.push('first'))
  await subscribe(connection, link, 'a/b', {}, () => got.push('second'))
  link.send(publish('a/b'))
  await handedOut(connection, link)
  assert.deepEqual(got.toSorted(), ['first', 'second'])
  await connection.disconnect()
})

test('a handler that subscribes its own filter does not get the same message again', async () => {
  const { connection, link } = await peer.connect()
  let calls = 0
  const handler = () => {
    calls++
    if (calls < 100) connection.subscribe('t', {}, handler).catch(() => {})
  }
  await subscribe(connection, link, 't', {}, handler)
  link.send(publish('t'))
  await handedOut(connection, link)
  assert.equal(calls, 1)
  await connection.disconnect({ force: true })
})

test('a handler that is unsubscribed by another one does not get the message any more', async () => {
  const { connection, link } = await peer.connect()
  const got = []
  await subscribe(connection, link, 't', {}, () => {
    got.push('first')
    void second.unsubscribe()
  })
  const { subscription: second } = await subscribe(connection, link, 't', {}, () => got.push('second'))
  link.send(publish('t'))
  await handedOut(connection, link)
  assert.deepEqual(got, ['first'])
  await connection.disconnect()
})

test('a QoS is asked for each filter, and a later use takes none from an earlier', async () => {
  const { connection, link } = await peer.connect()
  const { packet: first } = await subscribe(connection, link, 'a', { qos: 1 }, () => {})
  const { packet: second } = await subscribe(connection, link, ['a', 'b'], { qos: 0 }, () => {})
  const asked = (packet) => packet.subscriptions.map(({ topic, qos }) => `${topic} ${qos}`)
  assert.deepEqual(asked(first), ['a 1'])
  assert.deepEqual(asked(second), ['a 1', 'b 0'])
  await connection.disconnect()
})

test('a refused filter rejects, names each result, and the granted ones are released', async () => {
  const { connection, link } = await peer.connect()
  const subscribing = connection.subscribe(['ok/1', 'no', 'ok/2'])
  const { messageId } = await link.expect('subscribe')
  link.send({
    cmd: 'suback',
    messageId,
    granted: [1, 0x87, 0],
    properties: { reasonString: 'ask your admin' },
  })
  await assert.rejects(subscribing, {
    name: 'MqttError',
    code: 'ERR_SUBSCRIBE_REJECTED',
    stage: 'operation',
    reasonCode: 0x87,
    reasonString: 'ask your admin',
    message: /"no".*0x87/,
  })
  assert.deepEqual((await link.grantUnsubscribe()).unsubscriptions, ['ok/1', 'ok/2'])
  await connection.disconnect()
})

test('MQTT 3.1.1: the code 0x80 is a refusal', async () => {
  const { connection, link } = await peer.connect({ mqttVersion: 3 })
  const subscribing = connection.subscribe('no')
  await link.grant(0x80)
  await assert.rejects(subscribing, { code: 'ERR_SUBSCRIBE_REJECTED', reasonCode: 0x80 })
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect()
})

test('a refused second use of a filter takes nothing from the first', async () => {
  const { connection, link } = await peer.connect()
  const got = []
  await subscribe(connection, link, 't', {}, () => got.push('first'))
  const refused = connection.subscribe('t', {}, () => got.push('second'))
  await link.grant(0x87)
  await assert.rejects(refused, { code: 'ERR_SUBSCRIBE_REJECTED' })
  link.send(publish('t'))
  await handedOut(connection, link)
  assert.deepEqual(got, ['first'])
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect()
})

test('a subscription without an answer rejects, and what the server may have granted is given back', async () => {
  const { connection, link } = await peer.connect({ ackTimeoutMs: 50 })
  const subscribing = connection.subscribe('t')
  await link.expect('subscribe')
  await assert.rejects(subscribing, { code: 'ERR_ACK_TIMEOUT' })
  assert.deepEqual((await link.grantUnsubscribe()).unsubscriptions, ['t'])
  await connection.disconnect()
})

for (const [what, filter, options, handler, code] of [
  ['no filter', [], {}, undefined, 'ERR_INVALID_TOPIC'],
  ['an empty filter', '', {}, undefined, 'ERR_INVALID_TOPIC'],
  ['a wildcard inside of a level', 'a/b+/c', {}, undefined, 'ERR_INVALID_TOPIC'],
  ['# before the end', 'a/#/b', {}, undefined, 'ERR_INVALID_TOPIC'],
  ['8 slashes', 'a/b/c/d/e/f/g/h/i', {}, undefined, 'ERR_INVALID_TOPIC'],
  ['a filter of 257 bytes', 'x'.repeat(257), {}, undefined, 'ERR_INVALID_TOPIC'],
  ['QoS 2', 'a', { qos: 2 }, undefined, 'ERR_LIMIT'],
  ['QoS 3', 'a', { qos: 3 }, undefined, 'ERR_LIMIT'],
  ['QoS "1"', 'a', { qos: '1' }, undefined, 'ERR_INVALID_OPTION'],
  ['a filter that is no string', 42, {}, undefined, 'ERR_INVALID_OPTION'],
  ['a handler that is no function', 'a', {}, 'handler', 'ERR_INVALID_OPTION'],
  ['a signal that is none', 'a', { signal: {} }, undefined, 'ERR_INVALID_OPTION'],
  ['options that are none', 'a', null, undefined, 'ERR_INVALID_OPTION'],
  ['an option that does not exist', 'a', { QoS: 0 }, undefined, 'ERR_INVALID_OPTION'],
]) {
  test(`${what}: subscribe rejects before anything is sent`, async () => {
    const { connection, link } = await peer.connect()
    await assert.rejects(connection.subscribe(filter, options, handler), { name: 'MqttError', code })
    assert.deepEqual(await sentSoFar(connection, link), [])
    await connection.disconnect()
  })
}
