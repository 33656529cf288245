import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { handedOut, sentSoFar, startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

/** Takes the next request, whose topic of answers is granted if it was not yet. */
async function takeRequest(link, { first = true } = {}) {
  const subscribe = first ? await link.grant() : undefined
  const publish = await link.acknowledge()
  const { responseTopic, correlationData } = publish.properties
  const answer = (payload, properties = {}) =>
    link.send({
      cmd: 'publish',
      topic: responseTopic,
      payload,
      properties: { correlationData, ...properties },
    })
  return { subscribe, publish, responseTopic, correlationData, answer }
}

test('a request resolves with the message that carries its correlation data to its response topic', async () => {
  const { connection, link } = await peer.connect({ clientId: 'asker' })
  const asking = connection.request('service', { want: 1 }, { properties: { contentType: 'x' } })
  const { subscribe, publish, responseTopic, answer } = await takeRequest(link)
  assert.deepEqual(
    subscribe.subscriptions.map(({ topic }) => topic),
    ['asker/responses'],
  )
  assert.equal(responseTopic, 'asker/responses')
  assert.equal(publish.payload.toString(), '{"want":1}')
  assert.equal(publish.properties.contentType, 'x')
  answer('not it', { correlationData: Buffer.from('other') })
  answer('it', { contentType: 'text/plain' })
  const message = await asking
  assert.equal(message.payload.toString(), 'it')
  assert.equal(message.properties.contentType, 'text/plain')
  await connection.disconnect()
})

test('requests at the same time share one subscription, and their answers may come in any order', async () => {
  const { connection, link } = await peer.connect()
  const asking = Promise.all(['a', 'b', 'c'].map((payload) => connection.request('service', payload)))
  const requests = [await takeRequest(link)]
  for (const _ of ['b', 'c']) requests.push(await takeRequest(link, { first: false }))
  for (const { publish, answer } of requests.toReversed()) answer(`re ${publish.payload}`)
  const answers = await asking
  assert.deepEqual(
    answers.map(({ payload }) => payload.toString()),
    ['re a', 're b', 're c'],
  )
  await connection.disconnect()
})

test('a response topic of its own is subscribed to and used', async () => {
  const { connection, link } = await peer.connect()
  const asking = connection.request('service', '', { responseTopic: 'answers/7' })
  const { responseTopic, answer } = await takeRequest(link)
  assert.equal(responseTopic, 'answers/7')
  answer('x')
  await asking
  await connection.disconnect()
})

test('an aborted request rejects with the reason, and a late answer harms nobody', async () => {
  const { connection, link } = await peer.connect()
  const controller = new AbortController()
  const asking = connection.request('service', '', { signal: controller.signal })
  const { answer } = await takeRequest(link)
  controller.abort(new Error('enough'))
  await assert.rejects(asking, { message: 'enough' })
  answer('late')
  await connection.disconnect()
})

test('the end of the connection rejects what waits for an answer', async () => {
  const { connection, link } = await peer.connect()
  const asking = connection.request('service', '')
  await takeRequest(link)
  const refused = assert.rejects(asking, { code: 'ERR_CLOSED' })
  await connection.disconnect({ force: true })
  await refused
  await assert.rejects(connection.request('service', ''), { code: 'ERR_CLOSED' })
})

test('an answer is acknowledged with manualAck too', async () => {
  const { connection, link } = await peer.connect({ manualAck: true })
  const asking = connection.request('service', '')
  const { responseTopic, correlationData } = await takeRequest(link)
  const properties = { correlationData }
  link.send({ cmd: 'publish', topic: responseTopic, payload: '', qos: 1, messageId: 9, properties })
  await asking
  assert.equal((await link.expect('puback')).messageId, 9)
  await connection.disconnect()
})

test('a refused subscription rejects the request, and the next one asks again', async () => {
  const { connection, link } = await peer.connect()
  const refused = assert.rejects(connection.request('service', ''), { code: 'ERR_SUBSCRIBE_REJECTED' })
  await link.grant(0x87)
  await refused
  const asking = connection.request('service', '')
  const { answer } = await takeRequest(link)
  answer('')
  await asking
  await connection.disconnect()
})

test('a request goes on over a lost connection', async () => {
  const { connection, link } = await peer.connect({
    limits: 'none',
    reconnect: { minDelayMs: 1, maxDelayMs: 5, spreadMs: 0 },
  })
  const asking = connection.request('service', 'x')
  await link.grant()
  const { properties } = await link.expect('publish')
  link.destroy()
  const next = await peer.welcome({ sessionPresent: false })
  await next.grant()
  await next.acknowledge()
  const { responseTopic: topic, correlationData } = properties
  next.send({ cmd: 'publish', topic, payload: 'done', properties: { correlationData } })
  assert.equal((await asking).payload.toString(), 'done')
  await connection.disconnect()
})

test('on MQTT 3.1.1, and with properties that it sets itself, it is refused', async () => {
  const { connection } = await peer.connect()
  for (const properties of [{ responseTopic: 'r' }, { correlationData: 'c' }]) {
    await assert.rejects(connection.request('service', '', { properties }), { code: 'ERR_INVALID_OPTION' })
  }
  for (const timeoutMs of [0, -1, NaN, 2 ** 31]) {
    await assert.rejects(connection.request('service', '', { timeoutMs }), { code: 'ERR_INVALID_OPTION' })
  }
  await connection.disconnect()

  const { connection: old } = await peer.connect({ mqttVersion: 3 })
  await assert.rejects(old.request('service', ''), { code: 'ERR_INVALID_OPTION' })
  await old.disconnect()
})

test('with manualAck, what is no answer is left to the app to acknowledge', async () => {
  const { connection, link } = await peer.connect({ manualAck: true })
  const asking = connection.request('service', '')
  const { responseTopic: topic, answer } = await takeRequest(link)
  answer('')
  await asking
  link.send({ cmd: 'publish', topic, payload: 'no answer', qos: 1, messageId: 9 })
  await handedOut(connection, link)
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect({ force: true })
})
