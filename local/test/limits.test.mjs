import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  connectMqtt,
  connectPacket,
  connectRaw,
  lastOfType,
  ofType,
  openRaw,
  publish,
  start,
  subscribe,
  UNPACED,
} from './support.mjs'

/** Expects the server to end the connection: with this DISCONNECT on MQTT 5, without a word on 3.1.1. */
async function expectEnd(client, endpoint, reasonCode, reason = 'CLIENT_ERROR') {
  let packet = await client.next()
  while (packet?.cmd === 'puback') packet = await client.next()
  if (client.protocolVersion === 5) {
    assert.deepEqual([packet?.cmd, packet?.reasonCode], ['disconnect', reasonCode])
    packet = await client.next()
  }
  assert.equal(packet, undefined)
  assert.equal(lastOfType(endpoint, 'disconnected').disconnectReason, reason)
}

for (const protocolVersion of [4, 5]) {
  const name = protocolVersion === 4 ? '3.1.1' : 'MQTT 5'

  test(`${name}: topics of 256 bytes and 7 slashes pass, longer ones end the connection`, async (t) => {
    const endpoint = await start(t)
    for (const [topic, ok] of [
      ['a'.repeat(256), true],
      ['1/2/3/4/5/6/7/8', true],
      ['a'.repeat(257), false],
      ['1/2/3/4/5/6/7/8/9', false],
      ['a/+', false],
    ]) {
      const client = await connectRaw(t, endpoint, { protocolVersion })
      client.send(publish(topic, 'x', { qos: 1, messageId: 1 }))
      if (ok) assert.equal((await client.next()).reasonCode ?? 0, 0)
      else await expectEnd(client, endpoint, 0x90)
    }
  })

  test(`${name}: payloads of 128 KiB pass, larger ones end the connection`, async (t) => {
    const endpoint = await start(t)
    const client = await connectRaw(t, endpoint, { protocolVersion })
    const puback = await client.ask(publish('a', Buffer.alloc(128 * 1024), { qos: 1, messageId: 1 }))
    assert.equal(puback.cmd, 'puback')
    client.send(publish('a', Buffer.alloc(128 * 1024 + 1), { qos: 1, messageId: 2 }))
    await expectEnd(client, endpoint, 0x95)
  })

  test(`${name}: a packet that says it is too large is not waited for`, async (t) => {
    const endpoint = await start(t)
    const client = await connectRaw(t, endpoint, { protocolVersion })
    client.socket.write(Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f]))
    await expectEnd(client, endpoint, 0x95)
  })

  test(`${name}: more than 8 filters in a SUBSCRIBE end the connection`, async (t) => {
    const endpoint = await start(t)
    const client = await connectRaw(t, endpoint, { protocolVersion })
    const filters = (count) => Array.from({ length: count }, (_, n) => ({ topic: `t/${n}`, qos: 0 }))
    const suback = await client.ask({ cmd: 'subscribe', messageId: 1, subscriptions: filters(8) })
    assert.equal(suback.granted.length, 8)
    client.send({ cmd: 'subscribe', messageId: 2, subscriptions: filters(9) })
    await expectEnd(client, endpoint, 0x97)
  })

  test(`${name}: 100 messages of QoS 1 are on their way at a time`, async (t) => {
    const endpoint = await start(t, { limits: UNPACED })
    const client = await connectRaw(t, endpoint, { protocolVersion })
    await subscribe(client, 'a')
    const publisher = await connectMqtt(t, endpoint)
    for (let n = 0; n < 150; n++) await publisher.publishAsync('a', String(n), { qos: 1 })
    const ids = []
    for (let n = 0; n < 100; n++) ids.push((await client.next()).messageId)
    assert.equal((await client.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
    client.send({ cmd: 'puback', messageId: ids[0], reasonCode: 0 })
    assert.equal((await client.next()).payload.toString(), '100')
  })

  test(`${name}: silence beyond 1.5 times the keep-alive ends the connection`, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const endpoint = await start(t)
    const client = await connectRaw(t, endpoint, { protocolVersion, keepalive: 40 })
    t.mock.timers.tick(59_000)
    assert.equal((await client.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
    t.mock.timers.tick(59_000)
    assert.equal((await client.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
    t.mock.timers.tick(60_000)
    await expectEnd(client, endpoint, 0x8d, 'MQTT_KEEP_ALIVE_TIMEOUT')
  })

  test(`${name}: keep-alive is brought into 30 to 1200 seconds, 0 being the longest`, async (t) => {
    const endpoint = await start(t)
    for (const [asked, granted] of [
      [0, 1200],
      [1, 30],
      [30, 30],
      [60, 60],
      [1200, 1200],
      [65_535, 1200],
    ]) {
      const client = await connectRaw(t, endpoint, { protocolVersion, keepalive: asked })
      assert.equal(lastOfType(endpoint, 'connected').keepAliveSeconds, granted)
      if (protocolVersion === 5) assert.equal(client.connack.properties.serverKeepAlive, granted)
    }
  })

  test(`${name}: a second CONNECT and packets that a client does not send end the connection`, async (t) => {
    const endpoint = await start(t)
    for (const packet of [
      connectPacket(protocolVersion),
      { cmd: 'pingresp' },
      { cmd: 'pubrel', messageId: 1, reasonCode: 0 },
      { cmd: 'puback', messageId: 0, reasonCode: 0 },
      publish('a', 'x', { qos: 1, messageId: 0 }),
    ]) {
      const client = await connectRaw(t, endpoint, { protocolVersion })
      client.send(packet)
      await expectEnd(client, endpoint, 0x82)
    }
  })
}

test('MQTT 5: CONNACK says what is granted', async (t) => {
  const endpoint = await start(t)
  const { connack } = await connectRaw(t, endpoint, { properties: { sessionExpiryInterval: 100_000 } })
  assert.deepEqual(
    { ...connack.properties },
    {
      sessionExpiryInterval: 3600,
      serverKeepAlive: 60,
      receiveMaximum: 100,
      topicAliasMaximum: 8,
      maximumQoS: 1,
      retainAvailable: true,
      maximumPacketSize: 149_504,
      wildcardSubscriptionAvailable: true,
      subscriptionIdentifiersAvailable: false,
      sharedSubscriptionAvailable: true,
    },
  )
})

test('MQTT 5: a client without an id gets one', async (t) => {
  const endpoint = await start(t)
  const { connack } = await connectRaw(t, endpoint, { clientId: '' })
  assert.match(connack.properties.assignedClientIdentifier, /^\$GEN\/[0-9a-f-]{36}$/)
  assert.equal('clientId' in endpoint.invocations[0].event.protocolData.mqtt, false)
})

test('MQTT 5: the client’s Receive Maximum and Maximum Packet Size are respected', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint, { properties: { receiveMaximum: 2, maximumPacketSize: 100 } })
  await subscribe(client, 'a')
  const publisher = await connectMqtt(t, endpoint)
  for (const payload of ['1', 'x'.repeat(200), '2', '3'])
    await publisher.publishAsync('a', payload, { qos: 1 })
  const first = await client.next()
  assert.equal((await client.next()).payload.toString(), '2')
  assert.equal((await client.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
  assert.equal(lastOfType(endpoint, 'dropped').reason, 'packet-too-large')
  client.send({ cmd: 'puback', messageId: first.messageId, reasonCode: 0 })
  assert.equal((await client.next()).payload.toString(), '3')
})

test('MQTT 5: topic aliases beyond 8, or that stand for nothing, end the connection', async (t) => {
  const endpoint = await start(t)
  for (const [topic, topicAlias, reasonCode] of [
    ['a', 9, 0x94],
    ['a', 0, 0x94],
    ['', 1, 0x82],
  ]) {
    const client = await connectRaw(t, endpoint)
    client.send(publish(topic, 'x', { properties: { topicAlias } }))
    await expectEnd(client, endpoint, reasonCode)
  }
})

test('MQTT 5: subscription identifiers are not supported', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  client.send({
    cmd: 'subscribe',
    messageId: 1,
    subscriptions: [{ topic: 'a', qos: 0 }],
    properties: { subscriptionIdentifier: 1 },
  })
  await expectEnd(client, endpoint, 0xa1)
})

test('a connection has at most 50 subscriptions', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  for (let n = 0; n < 50; n++) assert.deepEqual((await subscribe(client, `t/${n}`)).granted, [1])
  assert.deepEqual((await subscribe(client, 't/50')).granted, [0x97])
  assert.deepEqual((await subscribe(client, 't/0')).granted, [1])
})

test('3.1.1: the 51st subscription ends the connection', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint, { protocolVersion: 4 })
  for (let n = 0; n < 50; n++) await subscribe(client, `t/${n}`)
  client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 't/50', qos: 0 }] })
  await expectEnd(client, endpoint)
  assert.equal(lastOfType(endpoint, 'subscribe').reasonCode, 0x97)
})

test('MQTT 5: a share name has 1 to 128 characters without wildcards', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  for (const [filter, code] of [
    [`$share/${'g'.repeat(128)}/a`, 1],
    [`$share/${'g'.repeat(129)}/a`, 0x8f],
    ['$share/g#/a', 0x8f],
    ['$share//a', 0x8f],
    ['$share/g', 0x8f],
    ['$share/g/1/2/3/4/5/6/7/8', 1],
    ['$share/g/1/2/3/4/5/6/7/8/9', 0x8f],
  ]) {
    assert.deepEqual((await subscribe(client, filter)).granted, [code], filter)
  }
})

test('numbers can be replaced, and the lists keep the latest entries', async (t) => {
  const endpoint = await start(t, { limits: { filtersPerSubscribe: 1, recordedEntries: 20 } })
  const client = await connectRaw(t, endpoint)
  for (let n = 0; n < 100; n++) client.send(publish(`t/${n}`))
  assert.equal((await client.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
  assert.ok(endpoint.events.length <= 25)
  assert.equal(endpoint.events.at(-1).topic, 't/99')
})

test('the lists keep the latest entries that are within their bytes', async (t) => {
  const refuseAll = { handler: () => ({ isAuthenticated: false }), signingDisabled: true }
  const endpoint = await start(t, {
    authorizers: { Open: refuseAll },
    limits: { recordedBytes: 500_000 },
  })
  for (let n = 0; n < 20; n++) {
    const client = await openRaw(t, endpoint)
    const username = `${n}${'u'.repeat(60_000)}`
    await client.ask(connectPacket(5, { clientId: `c${n}`, username }))
  }
  const users = endpoint.invocations.map(({ event }) => parseInt(event.protocolData.mqtt.username, 10))
  assert.deepEqual(users, [16, 17, 18, 19].slice(-users.length))
  assert.ok(users.length >= 3)
  assert.equal(ofType(endpoint, 'connect-refused').length, 20)
})

test('what a handler answers and throws counts among the bytes that are recorded', async (t) => {
  const big = 'x'.repeat(60_000)
  const handler = ({ protocolData: { mqtt } }) => {
    if (mqtt.username === 'bad') throw new Error(big)
    return { isAuthenticated: false, context: big }
  }
  const endpoint = await start(t, {
    authorizers: { Open: { handler, signingDisabled: true } },
    limits: { recordedBytes: 500_000 },
  })
  for (let n = 0; n < 20; n++) {
    const username = n < 10 ? 'good' : 'bad'
    await endpoint.testInvokeAuthorizer({ mqttContext: { username } }).catch(() => {})
    const most = n < 10 ? 5 : 3 // a message is in the stack as well
    if (n % 10 === 9) assert.ok(endpoint.invocations.length <= most, `${endpoint.invocations.length}`)
  }
  assert.ok(endpoint.events.length <= 5)
})

test('an entry that is too large by itself is kept until the next one comes', async (t) => {
  const endpoint = await start(t, { limits: { recordedBytes: 1 } })
  await connectRaw(t, endpoint)
  assert.deepEqual(
    endpoint.events.map(({ type }) => type),
    ['connected'],
  )
})

test('names, filters and topics are shortened in events', async (t) => {
  const endpoint = await start(t, { limits: UNPACED })
  const long = 'n'.repeat(60_000)
  const stranger = await openRaw(t, endpoint)
  await stranger.ask(connectPacket(5, { username: `?x-amz-customauthorizer-name=${long}` }))
  const { message } = lastOfType(endpoint, 'connect-refused')
  assert.match(message, /^there is no authorizer "n{297}\.\.\." \(known: Open\)$/)

  const client = await connectRaw(t, endpoint)
  await client.ask({ cmd: 'unsubscribe', messageId: 1, unsubscriptions: [long] })
  await subscribe(client, long)
  const rule = await connectRaw(t, endpoint, { clientId: 'rule' })
  rule.send(publish(`$aws/rules/${long}/t`))
  await rule.closed
  assert.equal(lastOfType(endpoint, 'unsubscribe').filter, `${'n'.repeat(397)}...`)
  assert.equal(lastOfType(endpoint, 'subscribe').filter, `${'n'.repeat(397)}...`)
  const { topic, allowed } = lastOfType(endpoint, 'publish')
  assert.deepEqual([topic, allowed], [`$aws/rules/${'n'.repeat(386)}...`, false])
})

test('an UNSUBSCRIBE has as few filters as a SUBSCRIBE', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  const unsubscribe = (count) =>
    client.ask({ cmd: 'unsubscribe', messageId: 1, unsubscriptions: Array(count).fill('a') })
  assert.equal((await unsubscribe(8)).cmd, 'unsuback')
  const { cmd, reasonCode } = await unsubscribe(9)
  assert.deepEqual([cmd, reasonCode], ['disconnect', 0x97])
  assert.equal(ofType(endpoint, 'unsubscribe').length, 8)
})

test('a CONNECT of more than 128 KiB is refused', async (t) => {
  const endpoint = await start(t)
  const client = await openRaw(t, endpoint)
  const will = { topic: 'a', payload: Buffer.alloc(65_000), qos: 0, retain: false }
  const big = connectPacket(5, { will, username: 'u'.repeat(65_000), password: Buffer.alloc(2000) })
  const connack = await client.ask(big)
  assert.equal(connack.reasonCode, 0x95)
})
