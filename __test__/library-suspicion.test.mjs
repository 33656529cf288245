import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { startEndingPeer } from './support/scripted-peer.mjs'

const peer = await startEndingPeer()
after(() => peer.close())

const topicsOf = ({ cmd, topic, subscriptions = [] }) =>
  cmd === 'publish' ? [topic] : subscriptions.map((each) => each.topic)

/**
 * Serves every connection from `link` on until the client ends one itself: publishes are acknowledged and subscriptions
 * granted, but for a packet with one of the `denied` topics the connection is closed. Gives the topics that passed.
 */
async function serve(link, { denied, sessionPresent = false, farewell }) {
  const passed = []
  let current = link
  for (;;) {
    const packet = await current.any()
    if (packet.cmd === 'disconnect') return passed
    const topics = topicsOf(packet)
    if (topics.some((topic) => denied.includes(topic))) {
      if (farewell !== undefined) current.send({ cmd: 'disconnect', reasonCode: farewell })
      current.end()
      current = await peer.welcome({ sessionPresent })
      continue
    }
    passed.push(...topics)
    const { messageId } = packet
    if (packet.cmd === 'subscribe')
      current.send({ cmd: 'suback', messageId, granted: topics.map(() => 1), reasonCode: 0 })
    else if (packet.cmd === 'unsubscribe')
      current.send({ cmd: 'unsuback', messageId, granted: packet.unsubscriptions.map(() => 0) })
    else if (packet.qos === 1) current.send({ cmd: 'puback', messageId, reasonCode: 0 })
  }
}

/** Ends the connection, which may be lost at the moment, and gives what was served. */
async function finish(connection, served) {
  await connection.publish('end', '')
  await connection.disconnect()
  return (await served).filter((topic) => topic !== 'end')
}

const POISONED = {
  name: 'MqttError',
  code: 'ERR_SUSPECTED_POLICY',
  stage: 'operation',
  retryable: false,
  message: /"poison"/,
  hint: /iot:Publish/,
}

for (const [what, options, serving] of [
  ['MQTT 5, by DISCONNECT 0x87', {}, { farewell: 0x87, sessionPresent: true }],
  ['MQTT 5, without a word', {}, { sessionPresent: true }],
  ['MQTT 5, without a word and with the session lost', {}, {}],
  ['MQTT 3.1.1', { mqttVersion: 3 }, {}],
]) {
  test(`${what}: a publish that the server closes for rejects, all others resolve in order`, async () => {
    const { connection, link } = await peer.connect(options)
    const served = serve(link, { denied: ['poison'], ...serving })
    const before = ['a', 'b'].map((topic) => connection.publish(topic, ''))
    const poison = connection.publish('poison', '')
    const rejected = assert.rejects(poison, POISONED)
    const behind = ['c', 'd', 'e'].map((topic) => connection.publish(topic, ''))
    await Promise.all([...before, rejected, ...behind])
    assert.deepEqual(await finish(connection, served), ['a', 'b', 'c', 'd', 'e'])
  })
}

test('one that is first, and alone: it rejects after a few connections', async () => {
  const attempts = []
  const { connection, link } = await peer.connect({ onAttempt: ({ number }) => attempts.push(number) })
  const served = serve(link, { denied: ['poison'], sessionPresent: true })
  await assert.rejects(connection.publish('poison', ''), POISONED)
  assert.ok(attempts.length <= 6, `${attempts.length} attempts`)
  await connection.publish('later', '')
  assert.deepEqual(await finish(connection, served), ['later'])
})

test('several in a row: each rejects, and what stands between resolves', async () => {
  const { connection, link } = await peer.connect()
  const served = serve(link, { denied: ['poison'], sessionPresent: true })
  const results = ['poison', 'a', 'poison', 'poison', 'b'].map((topic) => connection.publish(topic, ''))
  const codes = (await Promise.allSettled(results)).map(({ reason }) => reason?.code ?? 'resolved')
  assert.deepEqual(codes, [
    'ERR_SUSPECTED_POLICY',
    'resolved',
    'ERR_SUSPECTED_POLICY',
    'ERR_SUSPECTED_POLICY',
    'resolved',
  ])
  assert.deepEqual(await finish(connection, served), ['a', 'b'])
})

test('a subscribe that the server closes for rejects, and what stands behind it resolves', async () => {
  const { connection, link } = await peer.connect()
  const served = serve(link, { denied: ['poison'], sessionPresent: true })
  const subscribing = connection.subscribe('poison', {}, () => {})
  const rejected = assert.rejects(subscribing, {
    code: 'ERR_SUSPECTED_POLICY',
    message: /"poison"/,
    hint: /iot:Subscribe/,
  })
  const behind = connection.publish('behind', '')
  await Promise.all([rejected, behind])
  assert.deepEqual(await finish(connection, served), ['behind'])
})

test('a subscription that the server closes for when it is made again ends its loop alone', async () => {
  const { connection, link } = await peer.connect()
  const subscribing = connection.subscribe(['kept', 'poison'])
  await link.grant()
  const both = await subscribing
  const other = connection.subscribe('other', {}, () => {})
  await link.grant()
  await other
  link.end()
  const second = await peer.welcome()
  const served = serve(second, { denied: ['poison'] })
  await assert.rejects(both[Symbol.asyncIterator]().next(), {
    code: 'ERR_SUSPECTED_POLICY',
    message: /"poison"/,
  })
  const passed = await finish(connection, served)
  assert.ok(passed.includes('other') && !passed.includes('poison'), passed.join())
})

test('a link that is bad and completes something blames nobody', async () => {
  const { connection, link } = await peer.connect()
  const results = Array.from({ length: 8 }, (_, index) => connection.publish(`t/${index}`, ''))
  let current = link
  for (let index = 0; index < 8; index++) {
    assert.equal((await current.acknowledge()).topic, `t/${index}`)
    await results[index]
    current.end()
    current = await peer.welcome({ sessionPresent: true })
  }
  await Promise.all(results)
  await once(connection, 'resume')
  await connection.disconnect()
})

test('a connection that breaks while nothing is on its way blames nobody', async () => {
  const { connection, link } = await peer.connect()
  let current = link
  for (let round = 0; round < 6; round++) {
    current.end()
    current = await peer.welcome({ sessionPresent: true })
    await once(connection, 'resume')
  }
  const publishing = connection.publish('a', '')
  await current.acknowledge()
  await publishing
  await connection.disconnect()
})
