import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { handedOut, startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

/** What the peer sees of a message with these options. */
async function sent(options, connect = {}) {
  const { connection, link } = await peer.connect(connect)
  const publishing = connection.publish('t', 'x', options)
  const packet = await link.acknowledge()
  await publishing
  await connection.disconnect()
  return packet
}

test('every property of a message reaches the server', async () => {
  const { properties } = await sent({
    properties: {
      contentType: 'text/plain',
      responseTopic: 'answers',
      correlationData: Buffer.from([0, 255]),
      payloadFormat: 'utf8',
      userProperties: { one: '1' },
    },
  })
  assert.deepEqual(
    { ...properties, userProperties: { ...properties.userProperties } },
    {
      contentType: 'text/plain',
      responseTopic: 'answers',
      correlationData: Buffer.from([0, 255]),
      payloadFormatIndicator: true,
      userProperties: { one: '1' },
    },
  )
})

test('keys of user properties may repeat, in order', async () => {
  for (const userProperties of [
    { a: ['1', '2'], b: '3' },
    [
      ['a', '1'],
      ['a', '2'],
      ['b', '3'],
    ],
  ]) {
    const { properties } = await sent({ properties: { userProperties } })
    assert.deepEqual({ ...properties.userProperties }, { a: ['1', '2'], b: '3' })
  }
})

test('expiresInMs becomes the message expiry, in whole seconds', async () => {
  const { properties } = await sent({ expiresInMs: 4_200 })
  assert.deepEqual(properties, { messageExpiryInterval: 5 })
})

test('on MQTT 3.1.1 a message with properties is refused, and one that expires is sent', async () => {
  const { connection, link } = await peer.connect({ mqttVersion: 3 })
  await assert.rejects(connection.publish('t', '', { properties: { contentType: 'x' } }), {
    code: 'ERR_INVALID_OPTION',
    message: /mqttVersion: 5/,
  })
  const publishing = connection.publish('t', '', { expiresInMs: 60_000 })
  await link.acknowledge()
  await publishing
  await connection.disconnect()
})

for (const [what, properties, name] of [
  ['a content type that is no text', { contentType: 1 }, 'properties.contentType'],
  ['a content type with NUL', { contentType: 'a\0b' }, 'properties.contentType'],
  ['a response topic with a wildcard', { responseTopic: 'a/+' }, 'properties.responseTopic'],
  ['an empty response topic', { responseTopic: '' }, 'properties.responseTopic'],
  ['correlation data of 64 KiB', { correlationData: 'x'.repeat(65_536) }, 'properties.correlationData'],
  ['a user property that is a number', { userProperties: { a: 1 } }, 'properties.userProperties'],
  ['a user property that is no pair', { userProperties: [['a']] }, 'properties.userProperties'],
  ['a payload format that does not exist', { payloadFormat: 'json' }, 'properties.payloadFormat'],
  ['a property that does not exist', { contenttype: 'x' }, 'properties."contenttype"'],
]) {
  test(`${what} is refused by name, and nothing is sent`, async () => {
    const { connection, link } = await peer.connect()
    const error = await connection.publish('t', '', { properties }).catch((thrown) => thrown)
    assert.equal(error.code, 'ERR_INVALID_OPTION')
    assert.ok(error.message.includes(name), error.message)
    const next = connection.publish('next', '')
    assert.equal((await link.acknowledge()).topic, 'next')
    await next
    await connection.disconnect()
  })
}

test('every property of a message that arrives can be read', async () => {
  const { connection, link } = await peer.connect()
  const got = []
  connection.on('message', ({ properties }) => got.push(properties))
  link.send(
    { cmd: 'publish', topic: 'plain', payload: '' },
    {
      cmd: 'publish',
      topic: 'full',
      payload: 'x'.repeat(5_000),
      properties: {
        contentType: 'text/plain',
        responseTopic: 'answers',
        correlationData: Buffer.from([0, 255]),
        payloadFormatIndicator: true,
        messageExpiryInterval: 7,
        userProperties: { a: ['1', '2'] },
      },
    },
    { cmd: 'publish', topic: 'some', payload: '', properties: { payloadFormatIndicator: false } },
  )
  await handedOut(connection, link)
  assert.deepEqual(got, [
    undefined,
    {
      contentType: 'text/plain',
      responseTopic: 'answers',
      correlationData: Buffer.from([0, 255]),
      payloadFormat: 'utf8',
      expirySeconds: 7,
      userProperties: [
        ['a', '1'],
        ['a', '2'],
      ],
    },
    { payloadFormat: 'bytes', userProperties: [] },
  ])
  await connection.disconnect()
})

test('aliases of the server stand for the topics that came with them', async () => {
  const { connection, link, connect } = await peer.connect()
  assert.equal(connect.properties.topicAliasMaximum, 32)
  const got = []
  await Promise.all([connection.subscribe('a/b', {}, ({ topic }) => got.push(topic)), link.grant()])
  const aliased = (topic) => ({ cmd: 'publish', topic, payload: '', properties: { topicAlias: 3 } })
  link.send(aliased('a/b'), aliased(''), aliased(''))
  await handedOut(connection, link)
  assert.deepEqual(got, ['a/b', 'a/b', 'a/b'])
  await connection.disconnect()
})

test('with topicAliases a topic that repeats is sent as a number, anew on each connection', async () => {
  const { connection, link } = await peer.connect(
    { topicAliases: true, limits: 'none', reconnect: { minDelayMs: 1, maxDelayMs: 5, spreadMs: 0 } },
    { properties: { topicAliasMaximum: 1 } },
  )
  const publish = async (on) => {
    const publishing = connection.publish('long/topic', '')
    const { topic, properties } = await on.acknowledge()
    await publishing
    return [topic, properties.topicAlias]
  }
  assert.deepEqual(await publish(link), ['long/topic', 1])
  assert.deepEqual(await publish(link), ['', 1])
  link.destroy()
  const next = await peer.welcome({ properties: { topicAliasMaximum: 1 } })
  assert.deepEqual(await publish(next), ['long/topic', 1])
  await connection.disconnect()
})

test('without leave of the server, or of the app, topics are sent whole', async () => {
  for (const [options, topicAliasMaximum] of [
    [{ topicAliases: true }, 0],
    [{}, 8],
  ]) {
    const connack = topicAliasMaximum > 0 ? { properties: { topicAliasMaximum } } : {}
    const { connection, link } = await peer.connect(options, connack)
    for (const _ of [1, 2]) {
      const publishing = connection.publish('t', '')
      const { topic, properties } = await link.acknowledge()
      await publishing
      assert.deepEqual([topic, properties?.topicAlias], ['t', undefined])
    }
    assert.equal(connection.negotiated.topicAliasMaximum, topicAliasMaximum)
    await connection.disconnect()
  }
})

test('the will and the properties of CONNECT reach the server', async () => {
  const will = { topic: 'gone', payload: { id: 7 }, retain: true, delaySeconds: 5 }
  const { connection, connect } = await peer.connect({
    will: { ...will, properties: { contentType: 'application/json', userProperties: { a: 'b' } } },
    connectProperties: { userProperties: { fleet: 'north' } },
    sessionExpirySeconds: 77,
  })
  assert.equal(connect.will.topic, 'gone')
  assert.equal(connect.will.payload.toString(), '{"id":7}')
  assert.deepEqual([connect.will.qos, connect.will.retain], [1, true])
  assert.equal(connect.will.properties.willDelayInterval, 5)
  assert.equal(connect.will.properties.contentType, 'application/json')
  assert.deepEqual({ ...connect.will.properties.userProperties }, { a: 'b' })
  assert.deepEqual({ ...connect.properties.userProperties }, { fleet: 'north' })
  assert.equal(connect.properties.sessionExpiryInterval, 77)
  await connection.disconnect()
})

test('MQTT 3.1.1 has a will, without delay and properties', async () => {
  const { connection, connect } = await peer.connect({
    mqttVersion: 3,
    will: { topic: 'gone', payload: Buffer.from('x'), qos: 0 },
  })
  assert.deepEqual([connect.will.topic, connect.will.payload.toString()], ['gone', 'x'])
  assert.deepEqual([connect.will.qos, connect.will.retain], [0, false])
  await connection.disconnect()
  for (const more of [{ delaySeconds: 1 }, { properties: { contentType: 'x' } }]) {
    const will = { topic: 'gone', payload: '', ...more }
    const refused = connectWithCustomAuthorizer({ ...peer.where, mqttVersion: 3, will })
    await assert.rejects(refused, { code: 'ERR_INVALID_OPTION', message: /will\.(delaySeconds|properties)/ })
  }
})

test('words of the server come with each acknowledgement', async () => {
  const { connection, link } = await peer.connect()
  const said = (reasonString) => ({ properties: { reasonString } })
  const publishing = connection.publish('t', '')
  const { messageId } = await link.expect('publish')
  link.send({ cmd: 'puback', messageId, reasonCode: 16, ...said('nobody') })
  assert.deepEqual(await publishing, { packetId: messageId, reasonCode: 16, reasonString: 'nobody' })

  const subscribing = connection.subscribe('t', {}, () => {})
  const subscribe = await link.expect('subscribe')
  link.send({ cmd: 'suback', messageId: subscribe.messageId, granted: [1], ...said('welcome') })
  assert.equal((await subscribing).reasonString, 'welcome')

  const ending = connection.unsubscribe('t')
  const unsubscribe = await link.expect('unsubscribe')
  link.send({ cmd: 'unsuback', messageId: unsubscribe.messageId, granted: [0], ...said('bye') })
  assert.equal((await ending).reasonString, 'bye')
  await connection.disconnect()
})
