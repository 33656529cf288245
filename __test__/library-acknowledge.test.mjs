import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { handedOut, sentSoFar, startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

const stored = (messageId, topic = 't') => ({ cmd: 'publish', topic, payload: topic, qos: 1, messageId })
const acks = async (connection, link) =>
  (await sentSoFar(connection, link)).filter(({ cmd }) => cmd === 'puback').map(({ messageId }) => messageId)

/** A promise and what settles it. */
function deferred() {
  const parts = {}
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }))
  return parts
}

async function handle(handler, options) {
  const { connection, link } = await peer.connect(options)
  const subscribing = connection.subscribe('#', {}, handler)
  await link.grant()
  await subscribing
  return { connection, link }
}

test('PUBACK leaves when a handler has returned', async () => {
  const { connection, link } = await handle(() => {})
  link.send(stored(1))
  assert.equal((await link.expect('puback')).messageId, 1)
  await connection.disconnect()
})

test('PUBACK leaves only when the promise of an async handler has settled', async () => {
  const work = deferred()
  const { connection, link } = await handle(() => work.promise)
  link.send(stored(1))
  await handedOut(connection, link)
  assert.deepEqual(await acks(connection, link), [])
  work.resolve()
  assert.equal((await link.expect('puback')).messageId, 1)
  await connection.disconnect()
})

test('PUBACK waits for every handler that got the message', async () => {
  const works = [deferred(), deferred()]
  const { connection, link } = await handle(() => works[0].promise, { onMessage: () => works[1].promise })
  link.send(stored(1))
  await handedOut(connection, link)
  works[1].resolve()
  assert.deepEqual(await acks(connection, link), [])
  works[0].resolve()
  assert.equal((await link.expect('puback')).messageId, 1)
  await connection.disconnect()
})

test('PUBACKs leave in order of receipt, whichever handler is first', async () => {
  const works = new Map([1, 2, 3].map((id) => [`t/${id}`, deferred()]))
  const { connection, link } = await handle(({ topic }) => works.get(topic).promise)
  link.send(stored(1, 't/1'), stored(2, 't/2'), stored(3, 't/3'))
  await handedOut(connection, link)
  works.get('t/3').resolve()
  works.get('t/2').resolve()
  assert.deepEqual(await acks(connection, link), [])
  works.get('t/1').resolve()
  for (const id of [1, 2, 3]) assert.equal((await link.expect('puback')).messageId, id)
  await connection.disconnect()
})

test('with manualAck PUBACK leaves with ack(), and once', async () => {
  const got = []
  const { connection, link } = await handle((message) => got.push(message), { manualAck: true })
  link.send(stored(1))
  await handedOut(connection, link)
  assert.deepEqual(await acks(connection, link), [])
  got[0].ack()
  got[0].ack()
  assert.equal((await link.expect('puback')).messageId, 1)
  assert.deepEqual(await acks(connection, link), [])
  await connection.disconnect()
})

test('with manualAck ack() inside of an async handler waits for its end', async () => {
  const work = deferred()
  const { connection, link } = await handle(
    (message) => {
      message.ack()
      return work.promise
    },
    { manualAck: true },
  )
  link.send(stored(1))
  await handedOut(connection, link)
  assert.deepEqual(await acks(connection, link), [])
  work.resolve()
  assert.equal((await link.expect('puback')).messageId, 1)
  await connection.disconnect()
})

test('with manualAck a loop acknowledges nothing by going on', async () => {
  const { connection, link } = await peer.connect({ manualAck: true })
  const subscribing = connection.subscribe('#')
  await link.grant()
  const reader = (await subscribing)[Symbol.asyncIterator]()
  link.send(stored(1), stored(2))
  const { value: first } = await reader.next()
  await reader.next()
  assert.deepEqual(await acks(connection, link), [])
  first.ack()
  assert.equal((await link.expect('puback')).messageId, 1)
  await connection.disconnect()
})

test('ack() without manualAck, at QoS 0 and after the end does nothing', async () => {
  const got = []
  const { connection, link } = await handle((message) => got.push(message))
  link.send(stored(1), { cmd: 'publish', topic: 'q0', payload: '' })
  await link.expect('puback')
  await handedOut(connection, link)
  for (const message of got) message.ack()
  assert.deepEqual(await acks(connection, link), [])
  await connection.disconnect()
  for (const message of got) message.ack()
})

for (const [what, fail] of [
  [
    'throws',
    () => {
      throw new Error('broken handler')
    },
  ],
  ['rejects', () => Promise.reject(new Error('broken handler'))],
]) {
  test(`a handler that ${what} is logged, stops no other one and no acknowledgement`, async () => {
    const records = []
    const got = []
    const { connection, link } = await handle(fail, {
      logLevel: 'error',
      logger: (record) => records.push(record),
    })
    const subscribing = connection.subscribe('#', {}, ({ topic }) => got.push(topic))
    await link.grant()
    await subscribing
    link.send(stored(1, 'a'))
    assert.equal((await link.expect('puback')).messageId, 1)
    assert.deepEqual(got, ['a'])
    const [{ level, message, clientId }] = records
    assert.deepEqual({ level, clientId }, { level: 'error', clientId: connection.clientId })
    assert.match(message, /handler failed: Error: broken handler/)
    await connection.disconnect()
  })
}

test('without a log a failed handler becomes a warning of the process', async () => {
  const { connection, link } = await handle(() => {
    throw new Error('broken handler')
  })
  const warned = once(process, 'warning')
  link.send(stored(1))
  const [{ name, message }] = await warned
  assert.equal(name, 'MessageHandlerWarning')
  assert.match(message, /broken handler/)
  await connection.disconnect()
})

test('a handler may throw what cannot be shown', async () => {
  const { connection, link } = await handle(async () => {
    throw Object.create(null)
  })
  const warned = once(process, 'warning')
  link.send(stored(1))
  await warned
  assert.equal((await link.expect('puback')).messageId, 1)
  await connection.disconnect()
})

test('what was acknowledged right before disconnect() leaves before DISCONNECT', async () => {
  const { connection, link } = await handle(() => void connection.disconnect())
  link.send(stored(1))
  assert.equal((await link.expect('puback')).messageId, 1)
  await link.expect('disconnect')
  await connection.closed
})

test('with manualAck, what a loop never got to see holds back no PUBACK', async () => {
  const { connection, link } = await peer.connect({ manualAck: true })
  const subscribing = connection.subscribe('a')
  await link.grant()
  const subscription = await subscribing
  link.send(...[1, 2, 3].map((messageId) => stored(messageId, 'a')))
  await handedOut(connection, link)
  const loop = subscription[Symbol.asyncIterator]()
  const { value: message } = await loop.next()
  message.ack()
  void loop.return()
  assert.deepEqual(await acks(connection, link), [1, 2, 3])
  await connection.disconnect({ force: true })
})
