import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { handedOut, startEndingPeer } from './support/scripted-peer.mjs'

const peer = await startEndingPeer()
after(() => peer.close())

/** A connection that collects what it gets. */
async function receiving(options = {}, connack = {}) {
  const got = []
  const { connection, link } = await peer.connect(
    { onMessage: (message) => void got.push(message), ...options },
    connack,
  )
  return { connection, link, got }
}

/** The packet of a publish, acknowledged. */
async function published(connection, link, ...args) {
  const publishing = connection.publish(...args)
  const packet = await link.acknowledge()
  await publishing
  return packet
}

const plain = (object) => JSON.parse(JSON.stringify(object))

test('QoS 0 carries properties as well', async () => {
  const { connection, link } = await peer.connect()
  await connection.publish('a', 'x', { qos: 0, properties: { contentType: 'text/plain' } })
  assert.equal((await link.expect('publish')).properties.contentType, 'text/plain')
  await connection.disconnect()
})

test('correlation data may be bytes', async () => {
  const { connection, link } = await peer.connect()
  const correlationData = Uint8Array.of(0, 255, 1)
  const { properties } = await published(connection, link, 'a', '', { properties: { correlationData } })
  assert.deepEqual(properties.correlationData, Buffer.from([0, 255, 1]))
  await connection.disconnect()
})

for (const [what, userProperties, expected] of [
  [
    'pairs whose keys repeat',
    [
      ['a', '1'],
      ['b', '2'],
      ['a', '3'],
    ],
    { a: ['1', '3'], b: '2' },
  ],
  ['an empty key and value, and text beyond ASCII', { '': '', grün: 'é🌱' }, { '': '', grün: 'é🌱' }],
]) {
  test(`user properties as ${what}`, async () => {
    const { connection, link } = await peer.connect()
    const { properties } = await published(connection, link, 'a', '', { properties: { userProperties } })
    assert.deepEqual(plain(properties.userProperties), expected)
    await connection.disconnect()
  })
}

for (const [what, properties] of [
  ['empty properties', {}],
  ['no user properties', { userProperties: {} }],
  ['undefined for each', { contentType: undefined, userProperties: undefined }],
]) {
  test(`${what} leave nothing in the packet`, async () => {
    const { connection, link } = await peer.connect()
    const packet = await published(connection, link, 'a', '', { properties })
    assert.deepEqual(plain(packet.properties ?? {}), {})
    await connection.disconnect()
  })
}

for (const [what, properties, named] of [
  ['a responseTopic that is no string', { responseTopic: {} }, /responseTopic/],
  ['correlationData that is a number', { correlationData: 7 }, /correlationData/],
  ['user properties that are text', { userProperties: 'a=b' }, /userProperties/],
  ['a pair of three', { userProperties: [['a', 'b', 'c']] }, /userProperties/],
  ['properties that are an array', [], /properties/],
  ['properties that are null', null, /properties/],
  ['a contentType of 65,536 bytes', { contentType: 'x'.repeat(65_536) }, /contentType/],
]) {
  test(`${what}: that publish alone rejects, and names it`, async () => {
    const { connection, link } = await peer.connect()
    await assert.rejects(connection.publish('a', '', { properties }), ({ name, code, message }) => {
      assert.equal(name, 'MqttError')
      assert.match(code, /ERR_INVALID_OPTION|ERR_INVALID_TOPIC/)
      assert.match(message, named)
      return true
    })
    await published(connection, link, 'b', '')
    await connection.disconnect()
  })
}

for (const [what, options] of [
  ['connectProperties', { connectProperties: { userProperties: { a: 'b' } } }],
  ['topicAliases', { topicAliases: true }],
]) {
  test(`MQTT 3.1.1: ${what} is ERR_INVALID_OPTION`, async () => {
    await assert.rejects(peer.dial({ mqttVersion: 3, ...options }), {
      code: 'ERR_INVALID_OPTION',
      message: new RegExp(what.replace('.', '\\.')),
    })
  })
}

test('user properties keep the order of the sender', async () => {
  const { connection, link, got } = await receiving()
  const text = (string) => Buffer.from([0, string.length, ...Buffer.from(string)])
  const pairs = [
    ['b', '1'],
    ['a', '2'],
    ['b', '3'],
  ]
  const properties = Buffer.concat(
    pairs.map(([key, value]) => Buffer.concat([Buffer.of(0x26), text(key), text(value)])),
  )
  const body = Buffer.concat([text('t'), Buffer.of(properties.length), properties, Buffer.from('x')])
  link.sendBytes(Buffer.concat([Buffer.of(0x30, body.length), body]))
  await handedOut(connection, link)
  assert.deepEqual(got[0].properties.userProperties, pairs)
  await connection.disconnect()
})

test('MQTT 3.1.1: a message has no properties', async () => {
  const { connection, link, got } = await receiving({ mqttVersion: 3 })
  link.send({ cmd: 'publish', topic: 'a', payload: 'x' })
  await handedOut(connection, link)
  assert.equal(got[0].properties, undefined)
  assert.ok(!('properties' in got[0]))
  await connection.disconnect()
})

test('messages with and without properties keep their own, in one write', async () => {
  const { connection, link, got } = await receiving()
  const large = 'x'.repeat(5_000)
  link.send(
    ...Array.from({ length: 30 }, (_, index) => ({
      cmd: 'publish',
      topic: `t/${index}`,
      payload: index % 3 === 0 ? large : 'small',
      ...(index % 2 === 0 && { properties: { contentType: `type ${index}` } }),
    })),
  )
  await handedOut(connection, link)
  assert.deepEqual(
    got.map(({ topic, properties, payload }) => [topic, properties?.contentType, payload.length]),
    Array.from({ length: 30 }, (_, index) => [
      `t/${index}`,
      index % 2 === 0 ? `type ${index}` : undefined,
      index % 3 === 0 ? 5_000 : 5,
    ]),
  )
  await connection.disconnect()
})

test("the server's topic aliases are understood", async () => {
  const { connection, link, got } = await receiving()
  const { topicAliasMaximum } = link.connect.properties
  assert.ok(topicAliasMaximum >= 8, `${topicAliasMaximum}`)
  const aliased = (topic, topicAlias, payload) => ({
    cmd: 'publish',
    topic,
    payload,
    properties: { topicAlias },
  })
  link.send(
    aliased('first', 1, '1'),
    aliased('last', topicAliasMaximum, '2'),
    aliased('', 1, '3'),
    aliased('', topicAliasMaximum, '4'),
    aliased('other', 1, '5'),
    aliased('', 1, '6'),
  )
  await handedOut(connection, link)
  assert.deepEqual(
    got.map(({ topic, payload }) => `${topic} ${payload}`),
    ['first 1', 'last 2', 'first 3', 'last 4', 'other 5', 'other 6'],
  )
  await connection.disconnect()
})

for (const [what, topicAlias] of [
  ['that was never said', 2],
  ['beyond what was offered', 10_000],
]) {
  test(`a topic alias ${what} is ERR_PROTOCOL, and the connection comes back`, async () => {
    const { connection, link } = await receiving()
    link.send({ cmd: 'publish', topic: '', payload: '', properties: { topicAlias } })
    const [{ error }] = await once(connection, 'interrupt')
    assert.equal(error.code, 'ERR_PROTOCOL')
    await peer.welcome()
    await once(connection, 'resume')
    await connection.disconnect()
  })
}

test('topic aliases of an earlier connection stand for nothing on the next', async () => {
  const { connection, link } = await receiving()
  link.send({ cmd: 'publish', topic: 'a', payload: '', properties: { topicAlias: 1 } })
  await handedOut(connection, link)
  link.end()
  const again = await peer.welcome({ sessionPresent: true })
  await once(connection, 'resume')
  again.send({ cmd: 'publish', topic: '', payload: '', properties: { topicAlias: 1 } })
  const [{ error }] = await once(connection, 'interrupt')
  assert.equal(error.code, 'ERR_PROTOCOL')
  await connection.disconnect()
})

test('topicAliases: a topic that repeats is sent as a number, within what the server takes', async () => {
  const { connection, link } = await peer.connect(
    { topicAliases: true },
    { properties: { topicAliasMaximum: 2 } },
  )
  assert.equal(connection.negotiated.topicAliasMaximum, 2)
  const known = new Map()
  const topics = ['a', 'a', 'b', 'c', 'c', 'a', 'b', 'a']
  const understood = []
  let bare = 0
  for (const topic of topics) {
    const packet = await published(connection, link, topic, '')
    const alias = packet.properties?.topicAlias
    assert.ok(alias === undefined || (alias >= 1 && alias <= 2), `${alias}`)
    if (packet.topic === '') bare++
    else if (alias !== undefined) known.set(alias, packet.topic)
    understood.push(packet.topic === '' ? known.get(alias) : packet.topic)
  }
  assert.deepEqual(understood, topics)
  assert.ok(bare >= 2, `${bare}`)
  await connection.disconnect()
})

test('topicAliases: QoS 0 and properties of the message go with an alias', async () => {
  const { connection, link } = await peer.connect(
    { topicAliases: true },
    { properties: { topicAliasMaximum: 8 } },
  )
  for (const payload of ['1', '2']) {
    await connection.publish('a', payload, { qos: 0, properties: { contentType: `type ${payload}` } })
  }
  const packets = [await link.expect('publish'), await link.expect('publish')]
  assert.deepEqual(
    packets.map(({ topic, payload, properties }) => [topic, payload.toString(), properties.contentType]),
    [
      ['a', '1', 'type 1'],
      ['', '2', 'type 2'],
    ],
  )
  await connection.disconnect()
})

test('topicAliases: what is sent again carries its topic, and aliases begin anew', async () => {
  const { connection, link } = await peer.connect(
    { topicAliases: true },
    { properties: { topicAliasMaximum: 8 } },
  )
  await published(connection, link, 'a', '1')
  const lost = connection.publish('a', '2')
  assert.equal((await link.expect('publish')).topic, '')
  link.end()
  const again = await peer.welcome({ sessionPresent: true, properties: { topicAliasMaximum: 8 } })
  const resent = await again.acknowledge()
  assert.deepEqual([resent.topic, resent.dup, resent.payload.toString()], ['a', true, '2'])
  await lost
  assert.equal((await published(connection, again, 'a', '3')).topic, 'a')
  assert.equal((await published(connection, again, 'a', '4')).topic, '')
  await connection.disconnect()
})

test('connectProperties leave in each CONNECT', async () => {
  const userProperties = { firmware: '1.2.3', site: ['north', 'south'] }
  const { connection, link } = await peer.connect({ connectProperties: { userProperties } })
  link.end()
  const again = await peer.welcome()
  for (const { connect } of [link, again]) {
    assert.deepEqual(plain(connect.properties.userProperties), userProperties)
  }
  await connection.disconnect()
})

for (const [what, connectProperties] of [
  ['an unknown name', { contentType: 'a' }],
  ['user properties that are text', { userProperties: 'a' }],
  ['an array', []],
]) {
  test(`connectProperties with ${what}: ERR_INVALID_OPTION`, async () => {
    await assert.rejects(peer.dial({ connectProperties }), {
      code: 'ERR_INVALID_OPTION',
      message: /connectProperties/,
    })
  })
}

test('the session expiry is that of the option, an hour without one, and that of CONNACK once connected', async () => {
  const own = await peer.connect({ sessionExpirySeconds: 120 })
  assert.equal(own.link.connect.properties.sessionExpiryInterval, 120)
  assert.equal(own.connection.negotiated.sessionExpirySeconds, 120)
  const plainOne = await peer.connect({}, { properties: { sessionExpiryInterval: 60 } })
  assert.equal(plainOne.link.connect.properties.sessionExpiryInterval, 3_600)
  assert.equal(plainOne.connection.negotiated.sessionExpirySeconds, 60)
  await Promise.all([own.connection.disconnect(), plainOne.connection.disconnect()])
})

test('a QoS beyond Maximum QoS is refused here, and QoS 0 passes', async () => {
  const { connection, link } = await peer.connect({}, { properties: { maximumQoS: 0 } })
  await assert.rejects(connection.publish('a', ''), { code: 'ERR_LIMIT' })
  await connection.publish('b', '', { qos: 0 })
  assert.equal((await link.expect('publish')).topic, 'b')
  assert.equal(connection.negotiated.maximumQoS, 0)
  await connection.disconnect()
})

test('Server Keep Alive replaces that of the option: pings come at its pace', async () => {
  const { connection, link } = await peer.connect(
    { keepAliveSeconds: 600 },
    { properties: { serverKeepAlive: 1 } },
  )
  assert.equal(link.connect.keepalive, 600)
  assert.equal(connection.negotiated.keepAliveSeconds, 1)
  await link.expect('pingreq')
  link.send({ cmd: 'pingresp' })
  await link.expect('pingreq')
  link.send({ cmd: 'pingresp' })
  await connection.disconnect()
})
