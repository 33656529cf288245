// Messages cross the boundary in batches, and topics that come again without their text.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { AT_ONCE, startPeer, until } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

async function open(t, options) {
  const { connection, link } = await peer.connect({ ...AT_ONCE, ...options })
  t.after(() => connection.disconnect({ force: true }))
  return { connection, link }
}

const QOS0 = { qos: 0 }
const ignore = () => {}

async function arrived(link, count) {
  const messages = []
  while (messages.length < count) {
    const { topic, payload, qos, retain } = await link.expect('publish')
    messages.push({ topic, payload: payload.toString(), qos, retain })
  }
  return messages
}

test('messages of one turn keep their order, whatever their size, form and topic', async (t) => {
  const { connection, link } = await open(t)
  const long = 'l'.repeat(70_000)
  const given = [
    ['a', 'text'],
    ['b', 'x'.repeat(5_000)],
    ['a', 'grüße 🌡'],
    ['a', ''],
    ['ü/b', 'y'.repeat(2_000)],
    ['a', long],
    ['b', 'end'],
  ]
  const sending = given.map(([topic, payload], index) =>
    connection.publish(topic, index % 2 === 0 ? payload : Buffer.from(payload), QOS0),
  )
  const received = await arrived(link, given.length)
  assert.deepEqual(
    received.map(({ topic, payload }) => [topic, payload]),
    given,
  )
  await Promise.all(sending)
})

test('more topics than are kept, and more messages than a batch holds, arrive as they were sent', async (t) => {
  const { connection, link } = await open(t)
  const given = Array.from({ length: 1_000 }, (_, index) => [`topic/${index % 50}`, String(index)])
  const sending = given.map(([topic, payload]) => connection.publish(topic, payload, QOS0))
  const received = await arrived(link, given.length)
  assert.deepEqual(
    received.map(({ topic, payload }) => [topic, payload]),
    given,
  )
  await Promise.all(sending)
})

test('QoS and retain are those of each message', async (t) => {
  const { connection, link } = await open(t)
  for (const qos of [0, 1]) {
    for (const retain of [false, true]) void connection.publish('t', 'p', { qos, retain }).catch(ignore)
  }
  const received = await arrived(link, 4)
  assert.deepEqual(
    received.map(({ qos, retain }) => [qos, retain]),
    [
      [0, false],
      [0, true],
      [1, false],
      [1, true],
    ],
  )
})

test('of a batch only the messages that are wrong are refused, each with its own reason', async (t) => {
  const { connection, link } = await open(t, { limits: {} })
  const outcomes = Promise.allSettled([
    connection.publish('good', '1', QOS0),
    connection.publish('wild/+', '2', QOS0),
    connection.publish('good', '3', QOS0),
    connection.publish('wild/+', '4', QOS0),
    connection.publish('', '5', QOS0),
  ])
  const received = await arrived(link, 2)
  assert.deepEqual(
    received.map(({ payload }) => payload),
    ['1', '3'],
  )
  const reasons = (await outcomes).map(({ reason }) => reason?.message)
  assert.match(reasons[1], /"wild\/\+" holds a wildcard/)
  assert.equal(reasons[3], reasons[1])
  assert.match(reasons[4], /empty/)
  assert.deepEqual([reasons[0], reasons[2]], [undefined, undefined])
})

test('connections that publish in turn send what is theirs', async (t) => {
  const one = await open(t)
  const other = await open(t)
  const sending = []
  for (let index = 0; index < 10; index++) {
    sending.push(one.connection.publish('one', `1.${index}`, QOS0))
    sending.push(other.connection.publish('other', `2.${index}`, QOS0))
  }
  for (const [{ link }, expected, number] of [
    [one, 'one', 1],
    [other, 'other', 2],
  ]) {
    const received = await arrived(link, 10)
    assert.deepEqual(
      received.map(({ topic, payload }) => [topic, payload]),
      Array.from({ length: 10 }, (_, index) => [expected, `${number}.${index}`]),
    )
  }
  await Promise.all(sending)
})

test('bytes that change after the call are sent as they were', async (t) => {
  const { connection, link } = await open(t)
  const payload = Buffer.from('before')
  void connection.publish('t', payload, QOS0)
  payload.write('after!')
  assert.equal((await arrived(link, 1))[0].payload, 'before')
})

test('a subscribe comes after what was published before it, and before what was published after it', async (t) => {
  const { connection, link } = await open(t)
  void connection.publish('t', 'first', QOS0)
  void connection.subscribe('f').catch(ignore)
  void connection.publish('t', 'second', QOS0)
  assert.equal((await link.expect('publish')).payload.toString(), 'first')
  await link.expect('subscribe')
  assert.equal((await link.expect('publish')).payload.toString(), 'second')
})

test('a message that is withdrawn in its own turn is not sent', async (t) => {
  const { connection, link } = await open(t)
  const controller = new AbortController()
  const withdrawn = connection.publish('t', 'never', { qos: 1, signal: controller.signal })
  controller.abort()
  await assert.rejects(withdrawn, { name: 'AbortError' })
  void connection.publish('t', 'sent', QOS0)
  assert.equal((await arrived(link, 1))[0].payload, 'sent')
})

test('messages of many topics arrive with the topic that they have', async (t) => {
  const { connection, link } = await open(t)
  const topics = [...Array.from({ length: 80 }, (_, index) => `topic/${index}`), `ü/${'x'.repeat(300)}`]
  const given = []
  for (let round = 0; round < 4; round++) {
    for (const topic of topics) given.push([topic, `${given.length}`], [topic, `${given.length + 1}`])
  }
  const received = []
  const done = new Promise((resolve) => {
    void connection.subscribe('#', QOS0, ({ topic, payload }) => {
      if (received.push([topic, payload.toString()]) === given.length) resolve()
    })
  })
  const { messageId } = await link.expect('subscribe')
  link.send({ cmd: 'suback', messageId, granted: [0] })
  for (const [topic, payload] of given) {
    link.send({ cmd: 'publish', topic, payload, qos: 0, dup: false, retain: false })
  }
  await done
  assert.deepEqual(received, given)
})

test('topics are right although messages between them were dropped for a reader that is too slow', async (t) => {
  const { connection, link } = await open(t, { receive: { maxMessages: 4 } })
  const use = connection.subscribe('#', QOS0)
  const { messageId } = await link.expect('subscribe')
  link.send({ cmd: 'suback', messageId, granted: [0] })
  const subscription = await use
  // While an acknowledgement is waited for, reading goes on whatever is not consumed.
  void connection.publish('t', 'p', { qos: 1 }).catch(ignore)
  await link.expect('publish')
  const topics = ['a', 'a', 'b', 'b', 'c', 'c', 'a', 'b']
  let number = 0
  for (let round = 0; round < 50; round++) {
    for (const topic of topics) {
      const payload = `${topic}${number++}`
      link.send({ cmd: 'publish', topic, payload, qos: 0, dup: false, retain: false })
    }
  }
  link.send({ cmd: 'publish', topic: 'end', payload: 'end', qos: 1, messageId: 9, dup: false, retain: false })
  await until(() => connection.stats().dropped > 0)
  const messages = subscription[Symbol.asyncIterator]()
  for (;;) {
    const { topic, payload } = (await messages.next()).value
    if (topic === 'end') break
    assert.equal(topic, payload.toString()[0])
  }
})

test('a message that more filters match than a batch has words for reaches each of its readers once', async (t) => {
  const { connection, link } = await open(t, { limits: 'none' })
  const levels = Array.from({ length: 13 }, (_, level) => level)
  const filters = Array.from({ length: 5_000 }, (_, number) =>
    levels.map((level) => ((number >> level) & 1 ? '+' : 'a')).join('/'),
  )
  const received = []
  for (let from = 0; from < filters.length; from += 1_000) {
    const some = filters.slice(from, from + 1_000)
    const use = connection.subscribe(some, QOS0, ({ payload }) => received.push(`${from} ${payload}`))
    let granted = 0
    while (granted < some.length) granted += (await link.grant(0)).subscriptions.length
    await use
  }
  const topic = levels.map(() => 'a').join('/')
  for (const payload of ['1', '2']) {
    link.send({ cmd: 'publish', topic, payload, qos: 0, dup: false, retain: false })
  }
  await until(() => received.length >= 10)
  assert.deepEqual(
    received,
    ['1', '2'].flatMap((payload) => [0, 1_000, 2_000, 3_000, 4_000].map((from) => `${from} ${payload}`)),
  )
})

test('what is published in the very turn in which the connection is there has an outcome', async (t) => {
  const { connection } = await open(t)
  await connection.publish('t', 'p', QOS0)
})

test('an empty payload that is given away takes no later message along', async (t) => {
  const { connection, link } = await open(t)
  const sizes = []
  const use = connection.subscribe('t', QOS0, ({ payload }) => {
    sizes.push(payload.length)
    structuredClone(payload.buffer, { transfer: [payload.buffer] })
  })
  await link.grant(0)
  await use
  for (let number = 1; number <= 5; number++) {
    link.send({ cmd: 'publish', topic: 't', payload: '', qos: 0, dup: false, retain: false })
    await until(() => sizes.length === number, t.signal)
  }
  assert.deepEqual(sizes, [0, 0, 0, 0, 0])
})
