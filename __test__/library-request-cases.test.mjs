import assert from 'node:assert/strict'
import { getEventListeners, once } from 'node:events'
import { after, test } from 'node:test'
import { handedOut, sentSoFar, startEndingPeer } from './support/scripted-peer.mjs'

const peer = await startEndingPeer()
after(() => peer.close())

/** The packet of the next request, acknowledged. */
const requested = (link) => link.acknowledge()

/** Answers a request with this payload. */
function answer(link, { properties }, payload, more = {}) {
  const { responseTopic, correlationData } = properties
  link.send({
    cmd: 'publish',
    topic: responseTopic,
    payload,
    properties: { correlationData, ...more },
  })
}

test('the subscription for answers is made once, also for requests at a time, and stays', async () => {
  const { connection, link } = await peer.connect()
  const first = ['a', 'b'].map((topic) => connection.request(topic, ''))
  await link.grant()
  for (const packet of [await requested(link), await requested(link)]) answer(link, packet, packet.topic)
  const answers = (await Promise.all(first)).map(({ payload }) => payload.toString())
  assert.deepEqual(answers, ['a', 'b'])
  const third = connection.request('c', '')
  answer(link, await requested(link), 'c')
  await third
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect()
})

test('an answer may overtake the acknowledgement of its request', async () => {
  const { connection, link } = await peer.connect()
  const asking = connection.request('a', '')
  await link.grant()
  const packet = await link.expect('publish')
  answer(link, packet, 'early')
  assert.equal((await asking).payload.toString(), 'early')
  link.send({ cmd: 'puback', messageId: packet.messageId, reasonCode: 0 })
  await connection.disconnect()
})

test('an answer at QoS 1 is acknowledged', async () => {
  const { connection, link } = await peer.connect()
  const asking = connection.request('a', '')
  await link.grant()
  const { properties } = await requested(link)
  const { responseTopic: topic, correlationData } = properties
  link.send({
    cmd: 'publish',
    topic,
    payload: 'x',
    qos: 1,
    messageId: 9,
    properties: { correlationData },
  })
  await asking
  assert.equal((await link.expect('puback')).messageId, 9)
  await connection.disconnect()
})

test('with manualAck an answer needs no ack()', async () => {
  const { connection, link } = await peer.connect({ manualAck: true })
  const asking = connection.request('a', '')
  await link.grant()
  const { properties } = await requested(link)
  const { responseTopic: topic, correlationData } = properties
  const sent = { cmd: 'publish', topic, payload: 'x', qos: 1, properties: { correlationData } }
  link.send({ ...sent, messageId: 9 }, { ...sent, messageId: 10 })
  await asking
  for (const messageId of [9, 10]) assert.equal((await link.expect('puback')).messageId, messageId)
  await connection.disconnect()
})

test('a second answer, one to nobody and one without correlation data settle nothing', async () => {
  const { connection, link } = await peer.connect()
  const first = connection.request('a', '')
  await link.grant()
  const packet = await requested(link)
  const { responseTopic: topic } = packet.properties
  link.send(
    { cmd: 'publish', topic, payload: 'nobody', properties: { correlationData: Buffer.alloc(16) } },
    { cmd: 'publish', topic, payload: 'none' },
  )
  answer(link, packet, 'right')
  answer(link, packet, 'again')
  assert.equal((await first).payload.toString(), 'right')
  await handedOut(connection, link)
  await connection.disconnect()
})

test('an answer on another topic settles nothing', async () => {
  const { connection, link } = await peer.connect()
  const asking = connection.request('a', '', { responseTopic: 'own/first' })
  await link.grant()
  const packet = await requested(link)
  const other = connection.request('b', '', { responseTopic: 'own/second' })
  await link.grant()
  const otherPacket = await requested(link)
  const { correlationData } = packet.properties
  link.send({ cmd: 'publish', topic: 'own/second', payload: 'wrong', properties: { correlationData } })
  answer(link, packet, 'right')
  answer(link, otherPacket, 'other')
  assert.equal((await asking).payload.toString(), 'right')
  assert.equal((await other).payload.toString(), 'other')
  await connection.disconnect()
})

test('what the message says about itself goes with the request, and publish options too', async () => {
  const { connection, link } = await peer.connect()
  const asking = connection.request('a', 'x', {
    qos: 0,
    expiresInMs: 60_000,
    properties: { contentType: 'text/plain', userProperties: { a: 'b' } },
  })
  await link.grant()
  const packet = await link.expect('publish')
  assert.equal(packet.qos, 0)
  assert.equal(packet.properties.contentType, 'text/plain')
  assert.equal(packet.properties.messageExpiryInterval, 60)
  assert.equal(packet.properties.userProperties.a, 'b')
  answer(link, packet, 'x')
  await asking
  await connection.disconnect()
})

test('no answer in time: ERR_NO_RESPONSE that names both topics, and a late answer harms nobody', async () => {
  const { connection, link } = await peer.connect({ clientId: 'late' })
  const asking = connection.request('service/slow', '', { timeoutMs: 100 })
  const rejected = assert.rejects(asking, {
    name: 'MqttError',
    code: 'ERR_NO_RESPONSE',
    stage: 'operation',
    retryable: true,
    message: /"service\/slow".*"late\/responses".*100 ms/,
  })
  await link.grant()
  const packet = await requested(link)
  await rejected
  answer(link, packet, 'late')
  await handedOut(connection, link)
  await connection.disconnect()
})

test('aborted, it rejects with the reason, and leaves no listener', async () => {
  const { connection, link } = await peer.connect()
  const controller = new AbortController()
  const reason = new Error('changed my mind')
  const asking = connection.request('a', '', { signal: controller.signal })
  const rejected = assert.rejects(asking, (error) => error === reason)
  await link.grant()
  const packet = await requested(link)
  controller.abort(reason)
  await rejected
  answer(link, packet, 'late')
  await handedOut(connection, link)
  assert.equal(getEventListeners(controller.signal, 'abort').length, 0)
  await connection.disconnect()
})

test('with an aborted signal nothing is sent', async () => {
  const { connection, link } = await peer.connect()
  const reason = new Error('changed my mind')
  const signal = AbortSignal.abort(reason)
  await assert.rejects(connection.request('a', '', { signal }), (error) => error === reason)
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect()
})

test(
  'aborted while its subscription waits for an answer, it rejects at once',
  { timeout: 3_000 },
  async () => {
    const { connection, link } = await peer.connect()
    const controller = new AbortController()
    const reason = new Error('changed my mind')
    const asking = connection.request('a', '', { signal: controller.signal })
    const rejected = assert.rejects(asking, (error) => error === reason)
    await link.expect('subscribe')
    controller.abort(reason)
    await rejected
    await connection.disconnect({ force: true })
  },
)

test('timeoutMs counts the wait for its subscription too', { timeout: 3_000 }, async () => {
  const { connection, link } = await peer.connect()
  const asking = connection.request('a', '', { timeoutMs: 50 })
  const rejected = assert.rejects(asking, { code: 'ERR_NO_RESPONSE' })
  await link.expect('subscribe')
  await rejected
  await connection.disconnect({ force: true })
})

test('where the subscription is refused every request rejects so, and the next one tries it anew', async () => {
  const { connection, link } = await peer.connect()
  const asking = ['a', 'b'].map((topic) => connection.request(topic, ''))
  const rejected = asking.map((each) => assert.rejects(each, { code: 'ERR_SUBSCRIBE_REJECTED' }))
  await link.grant(0x87)
  await Promise.all(rejected)
  const third = connection.request('c', '')
  await link.grant()
  answer(link, await requested(link), 'x')
  await third
  await connection.disconnect()
})

test('where the request is refused it rejects as publish does', async () => {
  const { connection, link } = await peer.connect()
  const asking = connection.request('a', '')
  const rejected = assert.rejects(asking, { code: 'ERR_PUBLISH_REJECTED', reasonCode: 0x87 })
  await link.grant()
  await link.acknowledge(0x87)
  await rejected
  await connection.disconnect()
})

test('where nobody is subscribed it waits for an answer all the same', async () => {
  const { connection, link } = await peer.connect()
  const asking = connection.request('a', '')
  await link.grant()
  const packet = await link.acknowledge(16)
  answer(link, packet, 'x')
  await asking
  await connection.disconnect()
})

test('over a lost connection a request goes on: it is sent again, and its answer counts', async () => {
  const { connection, link } = await peer.connect()
  const asking = connection.request('a', '')
  await link.grant()
  const packet = await link.expect('publish')
  link.end()
  const again = await peer.welcome({ sessionPresent: true })
  const resent = await requested(again)
  assert.deepEqual(resent.properties.correlationData, packet.properties.correlationData)
  answer(again, resent, 'x')
  assert.equal((await asking).payload.toString(), 'x')
  await connection.disconnect()
})

test('where its subscription is lost for good, the next request makes it anew', async () => {
  const { connection, link } = await peer.connect()
  const first = connection.request('a', '')
  await link.grant()
  answer(link, await requested(link), 'x')
  await first
  link.end()
  const again = await peer.welcome()
  const warned = once(process, 'warning')
  await again.grant(0x87)
  await warned
  const second = connection.request('b', '')
  await again.grant()
  answer(again, await requested(again), 'y')
  assert.equal((await second).payload.toString(), 'y')
  await connection.disconnect()
})

test('the end of the connection rejects what waits for an answer with its error', async () => {
  const { connection, link } = await peer.connect({ reconnect: false })
  const asking = connection.request('a', '')
  const rejected = assert.rejects(asking, { code: 'ERR_CONNECTION_LOST' })
  await link.grant()
  await requested(link)
  link.end()
  await rejected
  await connection.closed
})

test('who waits for an answer learns of the end: there is no warning of the process beside it', async () => {
  const warned = []
  const listen = ({ name }) => warned.push(name)
  process.on('warning', listen)
  const { connection, link } = await peer.connect({ reconnect: false })
  const asking = connection.request('a', '')
  const rejected = assert.rejects(asking, { code: 'ERR_CONNECTION_LOST' })
  await link.grant()
  await requested(link)
  link.end()
  await rejected
  await new Promise((resolve) => setImmediate(resolve))
  process.off('warning', listen)
  assert.deepEqual(warned, [])
})

for (const [what, args, code] of [
  ['a topic with a wildcard', ['a/#', ''], 'ERR_INVALID_TOPIC'],
  ['a response topic with a wildcard', ['a', '', { responseTopic: 'b/#' }], 'ERR_INVALID_'],
  ['an empty response topic', ['a', '', { responseTopic: '' }], 'ERR_INVALID_'],
  ['an unknown option', ['a', '', { timeout: 1 }], 'ERR_INVALID_OPTION'],
  ['a payload that is a number', ['a', 7], 'ERR_INVALID_OPTION'],
  ['options that are null', ['a', '', null], 'ERR_INVALID_OPTION'],
]) {
  test(`a request with ${what} rejects, and nothing is published`, { timeout: 3_000 }, async () => {
    const { connection, link } = await peer.connect()
    const asking = connection.request(...args)
    const rejected = assert.rejects(asking, (error) => {
      assert.equal(error.name, 'MqttError')
      assert.match(error.code, new RegExp(code))
      return true
    })
    // Of the subscription for answers nothing is said here.
    const granted = (async () => {
      for (;;) await link.grant()
    })()
    granted.catch(() => {})
    await rejected
    await connection.disconnect({ force: true })
    await assert.rejects(granted)
  })
}
