import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  connectMqtt,
  connectRaw,
  lastOfType,
  ofType,
  publish,
  start,
  subscribe,
  UNPACED,
} from './support.mjs'

/** Everything that has arrived once a PINGREQ sent now is answered. */
async function received(client) {
  client.send({ cmd: 'pingreq' })
  const packets = []
  for (let packet; (packet = await client.next()) && packet.cmd !== 'pingresp';) packets.push(packet)
  return packets.filter(({ cmd }) => cmd === 'publish')
}
const payloads = (packets) => packets.map(({ payload }) => payload.toString())

for (const protocolVersion of [4, 5]) {
  const name = protocolVersion === 4 ? '3.1.1' : 'MQTT 5'

  for (const qos of [0, 1]) {
    test(`${name}: 10,000 messages of QoS ${qos} are published and received back in order`, async (t) => {
      const endpoint = await start(t, { limits: UNPACED })
      const client = await connectMqtt(t, endpoint, { protocolVersion })
      client.stream.setMaxListeners(0) // MQTT.js adds one for each packet that waits
      await client.subscribeAsync('echo/#', { qos })
      const count = 10_000
      let next = 0
      const all = new Promise((resolve, reject) => {
        client.on('message', (_topic, payload) => {
          if (payload.toString() !== String(next)) reject(new Error(`expected ${next}, got ${payload}`))
          if (++next === count) resolve()
        })
      })
      const published = []
      for (let n = 0; n < count; n++) published.push(client.publishAsync('echo/x', String(n), { qos }))
      await Promise.all(published)
      await all
    })
  }

  test(`${name}: a delivery has the lower of both QoS`, async (t) => {
    const endpoint = await start(t)
    const client = await connectRaw(t, endpoint, { protocolVersion })
    await subscribe(client, 'zero', { qos: 0 })
    await subscribe(client, 'one', { qos: 1 })
    client.send(publish('zero', 'x', { qos: 1, messageId: 1 }))
    client.send(publish('one', 'x', { qos: 0 }))
    client.send(publish('one', 'x', { qos: 1, messageId: 2 }))
    assert.deepEqual(
      (await received(client)).map(({ qos }) => qos),
      [0, 0, 1],
    )
  })

  test(`${name}: a retained message goes to an exact filter, with RETAIN, and not to a wildcard`, async (t) => {
    const endpoint = await start(t)
    const client = await connectRaw(t, endpoint, { protocolVersion })
    client.send(publish('state/a', 'on', { retain: true }))
    await subscribe(client, 'state/+')
    assert.deepEqual(await received(client), [])
    await subscribe(client, '$share/g/state/a')
    assert.deepEqual(await received(client), [])
    await subscribe(client, 'state/a')
    const [message] = await received(client)
    assert.deepEqual([message.payload.toString(), message.retain], ['on', true])
  })

  test(`${name}: a retained message reaches those who are subscribed already with RETAIN 0`, async (t) => {
    const endpoint = await start(t)
    const client = await connectRaw(t, endpoint, { protocolVersion })
    await subscribe(client, 'state/a')
    client.send(publish('state/a', 'on', { retain: true }))
    assert.deepEqual(
      (await received(client)).map(({ retain }) => retain),
      [false],
    )
  })

  test(`${name}: an empty retained message deletes`, async (t) => {
    const endpoint = await start(t)
    const client = await connectRaw(t, endpoint, { protocolVersion })
    client.send(publish('state/a', 'on', { retain: true }))
    client.send(publish('state/a', '', { retain: true }))
    await subscribe(client, 'state/a')
    assert.deepEqual(await received(client), [])
  })

  test(`${name}: after UNSUBSCRIBE nothing more comes`, async (t) => {
    const endpoint = await start(t)
    const client = await connectRaw(t, endpoint, { protocolVersion })
    await subscribe(client, 'a')
    const unsuback = await client.ask({ cmd: 'unsubscribe', messageId: 9, unsubscriptions: ['a', 'never'] })
    assert.equal(unsuback.messageId, 9)
    if (protocolVersion === 5) assert.deepEqual(unsuback.granted, [0, 0])
    client.send(publish('a'))
    assert.deepEqual(await received(client), [])
  })

  test(`${name}: QoS 2 is never acknowledged`, async (t) => {
    const endpoint = await start(t)
    const client = await connectRaw(t, endpoint, { protocolVersion })
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 2 }] })
    client.send(publish('a', 'x', { qos: 2, messageId: 2 }))
    assert.equal((await client.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
    assert.deepEqual(
      ofType(endpoint, 'ignored').map(({ packet }) => packet),
      ['SUBSCRIBE', 'PUBLISH'],
    )
  })
}

test('filters that overlap give one message with the best QoS', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  await subscribe(client, 'a/#', { qos: 0 })
  await subscribe(client, 'a/+', { qos: 1 })
  client.send(publish('a/b', 'x', { qos: 1, messageId: 1 }))
  assert.deepEqual(
    (await received(client)).map(({ qos }) => qos),
    [1],
  )
})

test('of a shared subscription one member gets each message', async (t) => {
  const endpoint = await start(t)
  const members = []
  for (const clientId of ['a', 'b', 'c']) {
    const member = await connectRaw(t, endpoint, { clientId })
    assert.deepEqual((await subscribe(member, '$share/g/work/#')).granted, [1])
    members.push(member)
  }
  const publisher = await connectMqtt(t, endpoint)
  for (let n = 0; n < 60; n++) await publisher.publishAsync(`work/${n}`, String(n), { qos: 1 })
  const shares = []
  for (const member of members) shares.push(payloads(await received(member)))
  assert.equal(shares.flat().length, 60)
  assert.equal(new Set(shares.flat()).size, 60)
  assert.ok(shares.every((share) => share.length > 0))
})

test('publish properties travel from MQTT 5 to MQTT 5, aliases do not', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  await subscribe(client, 'a')
  const properties = {
    payloadFormatIndicator: true,
    contentType: 'text/plain',
    responseTopic: 'reply',
    correlationData: Buffer.from([1, 2]),
    userProperties: { k: ['v1', 'v2'], other: 'w' },
  }
  client.send(publish('a', 'x', { properties: { ...properties, topicAlias: 3, messageExpiryInterval: 60 } }))
  client.send(publish('', 'y', { properties: { topicAlias: 3 } }))
  const [first, second] = await received(client)
  assert.deepEqual(
    JSON.parse(JSON.stringify(first.properties)),
    JSON.parse(JSON.stringify({ ...properties, messageExpiryInterval: 60 })),
  )
  assert.equal(second.topic, 'a')
  assert.equal(second.properties, undefined)
})

test('MQTT 5 subscription options: no local, retain as published, retain handling', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  await subscribe(client, 'own', { nl: true })
  client.send(publish('own', 'x'))
  assert.deepEqual(await received(client), [])
  await subscribe(client, 'kept', { rap: true })
  client.send(publish('kept', 'x', { retain: true }))
  assert.deepEqual(
    (await received(client)).map(({ retain }) => retain),
    [true],
  )
  await subscribe(client, 'kept', { rh: 1 })
  assert.deepEqual(await received(client), [])
  await subscribe(client, 'kept', { rh: 0 })
  assert.equal((await received(client)).length, 1)
})

test('the will is published when the connection dies without DISCONNECT', async (t) => {
  const endpoint = await start(t)
  const watcher = await connectRaw(t, endpoint, { clientId: 'watcher' })
  await subscribe(watcher, 'will/#')
  const will = { topic: 'will/x', payload: 'gone', qos: 1, retain: false }
  const dying = await connectRaw(t, endpoint, { clientId: 'dying', will })
  dying.socket.destroy()
  const message = await watcher.next()
  assert.deepEqual([message.topic, message.payload.toString()], ['will/x', 'gone'])
  const event = lastOfType(endpoint, 'disconnected')
  assert.deepEqual([event.disconnectReason, event.willPublished], ['CONNECTION_LOST', true])
})

test('the will is withheld after DISCONNECT, unless it asks for it', async (t) => {
  const endpoint = await start(t)
  const watcher = await connectRaw(t, endpoint, { clientId: 'watcher' })
  await subscribe(watcher, 'will/#')
  for (const reasonCode of [0, 4]) {
    const will = { topic: `will/${reasonCode}`, payload: 'gone', qos: 0, retain: false }
    const leaving = await connectRaw(t, endpoint, { clientId: 'leaving', will })
    leaving.send({ cmd: 'disconnect', reasonCode })
    await leaving.closed
    const event = lastOfType(endpoint, 'disconnected')
    assert.equal(event.disconnectReason, 'CLIENT_INITIATED_DISCONNECT')
    assert.equal(event.clientInitiated, true)
  }
  assert.deepEqual(
    (await received(watcher)).map(({ topic }) => topic),
    ['will/4'],
  )
})

test('basic ingest is accepted and reaches no subscriber', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  await subscribe(client, '$aws/+/rule/a')
  client.send(publish('$aws/rules/rule/a', 'x', { qos: 1, messageId: 1 }))
  assert.equal((await client.next()).cmd, 'puback')
  assert.deepEqual(await received(client), [])
})

for (const protocolVersion of [4, 5]) {
  const name = protocolVersion === 4 ? '3.1.1' : 'MQTT 5'
  const persistent =
    protocolVersion === 4 ? { clean: false } : { clean: false, properties: { sessionExpiryInterval: 600 } }

  test(`${name}: without a connected member, QoS 1 waits for one whose session persists`, async (t) => {
    const endpoint = await start(t)
    const options = { protocolVersion, clientId: 'member', ...persistent }
    const member = await connectRaw(t, endpoint, options)
    await subscribe(member, '$share/g/work')
    member.send({ cmd: 'disconnect', reasonCode: 0 })
    await member.closed
    const publisher = await connectRaw(t, endpoint, { clientId: 'publisher' })
    publisher.send(publish('work', 'zero'))
    await publisher.ask(publish('work', 'one', { qos: 1, messageId: 1 }))
    const back = await connectRaw(t, endpoint, options)
    assert.deepEqual(payloads(await received(back)), ['one'])
  })

  test(`${name}: without a persistent member, QoS 1 of a shared subscription is not kept`, async (t) => {
    const endpoint = await start(t)
    const options = { protocolVersion, clientId: 'member' }
    const member = await connectRaw(t, endpoint, options)
    await subscribe(member, '$share/g/work')
    member.send({ cmd: 'disconnect', reasonCode: 0 })
    await member.closed
    const publisher = await connectRaw(t, endpoint, { clientId: 'publisher' })
    await publisher.ask(publish('work', 'one', { qos: 1, messageId: 1 }))
    const back = await connectRaw(t, endpoint, options)
    await subscribe(back, '$share/g/work')
    assert.deepEqual(await received(back), [])
  })

  test(`${name}: a message on a reserved topic cannot be retained`, async (t) => {
    const endpoint = await start(t)
    const client = await connectRaw(t, endpoint, { protocolVersion })
    client.send(publish('$aws/things/x/shadow/update', '{}', { retain: true }))
    await client.closed
    assert.match(lastOfType(endpoint, 'publish').problem, /reserved topic cannot be retained/)
  })

  test(`${name}: shadow topics carry messages as others do, though # does not match them`, async (t) => {
    const endpoint = await start(t)
    const client = await connectRaw(t, endpoint, { protocolVersion })
    await subscribe(client, '#', { qos: 0 })
    client.send(publish('$aws/things/x/shadow/update', '{}'))
    assert.deepEqual(await received(client), [])
    await subscribe(client, '$aws/things/+/shadow/#')
    client.send(publish('$aws/things/x/shadow/update', '{}'))
    assert.deepEqual(payloads(await received(client)), ['{}'])
  })

  test(`${name}: a retained will is kept`, async (t) => {
    const endpoint = await start(t)
    const will = { topic: 'state', payload: 'gone', qos: 1, retain: true }
    const dying = await connectRaw(t, endpoint, { protocolVersion, clientId: 'dying', will })
    const watcher = await connectRaw(t, endpoint, { clientId: 'watcher' })
    await subscribe(watcher, 'state')
    dying.socket.destroy()
    assert.deepEqual([(await watcher.next()).retain], [false])
    const later = await connectRaw(t, endpoint, { clientId: 'later' })
    await subscribe(later, 'state')
    assert.deepEqual(
      (await received(later)).map(({ retain }) => retain),
      [true],
    )
  })
}

test('a retained message replaces the one before it', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  for (const payload of ['1', '2']) client.send(publish('state', payload, { retain: true }))
  await subscribe(client, 'state')
  assert.deepEqual(payloads(await received(client)), ['2'])
})

test('MQTT 5: a retained message is not delivered after its expiry', async (t) => {
  const now = Date.now()
  t.mock.timers.enable({ apis: ['Date'], now })
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  client.send(publish('state', 'on', { retain: true, properties: { messageExpiryInterval: 10 } }))
  await client.ask({ cmd: 'pingreq' })
  t.mock.timers.setTime(now + 10_000)
  await subscribe(client, 'state')
  assert.deepEqual(await received(client), [])
})

test('MQTT 5: Message Expiry Interval is brought into 1 second to 7 days', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  await subscribe(client, 'a')
  for (const messageExpiryInterval of [0, 1, 604_800, 604_801, 0xffffffff])
    client.send(publish('a', 'x', { properties: { messageExpiryInterval } }))
  assert.deepEqual(
    (await received(client)).map(({ properties }) => properties.messageExpiryInterval),
    [1, 1, 604_800, 604_800, 604_800],
  )
})

test('MQTT 5: a topic alias can be given another topic, and holds for its connection only', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  await subscribe(client, '+')
  const properties = { topicAlias: 8 }
  for (const topic of ['a', '', 'b', '']) client.send(publish(topic, 'x', { properties }))
  assert.deepEqual(
    (await received(client)).map(({ topic }) => topic),
    ['a', 'a', 'b', 'b'],
  )
  const other = await connectRaw(t, endpoint, { clientId: 'other' })
  other.send(publish('', 'x', { properties }))
  assert.equal((await other.next()).reasonCode, 0x82)
})

test('MQTT 5: UNSUBSCRIBE names a filter that cannot be one', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  const unsubscriptions = ['a', 'a/#/b', '$share/g+/a']
  const unsuback = await client.ask({ cmd: 'unsubscribe', messageId: 2, unsubscriptions })
  assert.deepEqual(unsuback.granted, [0, 0x8f, 0x8f])
})

test('MQTT 5: a shared subscription with No Local is a protocol error', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  assert.equal((await subscribe(client, '$share/g/a', { nl: true })).reasonCode, 0x82)
})

test('MQTT 5: basic ingest cannot be subscribed to', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  assert.deepEqual((await subscribe(client, '$aws/rules/rule/a')).granted, [0x8f])
})
