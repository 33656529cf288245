import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { faultsOf } from './fault-support.mjs'
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
} from './support.mjs'

const ping = (client) => client.ask({ cmd: 'pingreq' })

/** What a client reads up to its end. */
async function readAll(client) {
  const packets = []
  for (let packet = await client.next(); packet !== undefined; packet = await client.next())
    packets.push(packet)
  return packets
}

for (const protocolVersion of [4, 5]) {
  const name = protocolVersion === 4 ? '3.1.1' : 'MQTT 5'

  test(`${name}: close instead of CONNACK, before the authorizer is asked`, async (t) => {
    const endpoint = await start(t, { faults: [{ on: 'connect', do: { close: true } }] })
    const client = await openRaw(t, endpoint, { protocolVersion })
    assert.equal(await client.ask(connectPacket(protocolVersion)), undefined)
    assert.equal(endpoint.invocations.length, 0)
    assert.equal(lastOfType(endpoint, 'connect-refused').rule, 'fault')
  })

  test(`${name}: close instead of CONNACK, after the authorizer was asked`, async (t) => {
    const endpoint = await start(t, { faults: [{ on: 'connack', do: { close: true } }] })
    const client = await openRaw(t, endpoint, { protocolVersion })
    assert.equal(await client.ask(connectPacket(protocolVersion)), undefined)
    assert.equal(endpoint.invocations.length, 1)
    assert.equal(lastOfType(endpoint, 'disconnected').disconnectReason, 'CONNECTION_LOST')
  })

  for (const on of ['connect', 'connack']) {
    test(`${name}: CONNACK with code 7 on ${on}`, async (t) => {
      const endpoint = await start(t, { faults: [{ on, do: { connack: 7 } }] })
      const client = await openRaw(t, endpoint, { protocolVersion })
      const connack = await client.ask(connectPacket(protocolVersion))
      assert.equal(protocolVersion === 5 ? connack.reasonCode : connack.returnCode, 7)
      assert.equal(await client.next(), undefined)
    })
  }
}

test('MQTT 5: DISCONNECT with any code and a reason, then the end', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  endpoint.faults.add({ on: 'pingreq', do: { disconnect: 0x9c, reason: 'why not' } })
  client.send({ cmd: 'pingreq' })
  const [disconnect, ...more] = await readAll(client)
  assert.deepEqual(
    [disconnect.cmd, disconnect.reasonCode, disconnect.properties.reasonString, more],
    ['disconnect', 0x9c, 'why not', []],
  )
  assert.equal(lastOfType(endpoint, 'disconnected').disconnectReason, 'SERVER_INITIATED_DISCONNECT')
})

test('3.1.1: a DISCONNECT fault is the end without a word', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint, { protocolVersion: 4 })
  endpoint.faults.add({ on: 'pingreq', do: { disconnect: 0x97 } })
  client.send({ cmd: 'pingreq' })
  assert.deepEqual(await readAll(client), [])
})

test('a reset is a reset', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  endpoint.faults.add({ on: 'pingreq', do: { reset: true } })
  const failed = once(client.socket, 'error')
  client.send({ cmd: 'pingreq' })
  const [error] = await failed
  assert.equal(error.code, 'ECONNRESET')
})

test('the end by a fault publishes the Will', async (t) => {
  const endpoint = await start(t)
  const watcher = await connectRaw(t, endpoint, { clientId: 'watcher' })
  await subscribe(watcher, 'will')
  const will = { topic: 'will', payload: 'gone', qos: 0, retain: false }
  const client = await connectRaw(t, endpoint, { clientId: 'raw', will })
  endpoint.faults.add({ on: 'pingreq', clientId: 'raw', do: { close: true } })
  client.send({ cmd: 'pingreq' })
  assert.equal((await watcher.next()).payload.toString(), 'gone')
})

test('a dropped packet from the client was never there', async (t) => {
  const endpoint = await start(t, { faults: [{ on: 'publish', topic: 'a/#', times: 1, do: { drop: true } }] })
  const client = await connectRaw(t, endpoint)
  client.send(publish('a/b', 'lost'))
  await client.ask(publish('a/b', 'kept', { qos: 1, messageId: 1 }))
  assert.equal(ofType(endpoint, 'publish').length, 1)
})

test('a dropped PUBACK: the message was handled, and nobody says so', async (t) => {
  const endpoint = await start(t, { faults: [{ on: 'puback', do: { drop: true } }] })
  const client = await connectRaw(t, endpoint)
  client.send(publish('a', 'x', { qos: 1, messageId: 1 }))
  assert.equal((await ping(client)).cmd, 'pingresp')
  assert.equal(ofType(endpoint, 'publish').length, 1)
})

for (const [kind, ask] of [
  [
    'suback',
    (client) => client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 0 }] }),
  ],
  ['unsuback', (client) => client.send({ cmd: 'unsubscribe', messageId: 1, unsubscriptions: ['a'] })],
  ['pingresp', (client) => client.send({ cmd: 'pingreq' })],
]) {
  test(`a dropped ${kind.toUpperCase()}`, async (t) => {
    const endpoint = await start(t, { faults: [{ on: kind, times: 1, do: { drop: true } }] })
    const client = await connectRaw(t, endpoint)
    ask(client)
    const puback = await client.ask(publish('b', 'x', { qos: 1, messageId: 9 }))
    assert.equal(puback.cmd, 'puback')
    assert.deepEqual(faultsOf(endpoint), [[kind.toUpperCase(), 'out', 'drop']])
  })
}

test('MQTT.js: a redelivery with the same packet id and DUP', async (t) => {
  const endpoint = await start(t)
  endpoint.faults.add({
    on: 'publish',
    direction: 'out',
    do: { duplicate: { newPacketId: false, dup: true } },
  })
  const client = await connectMqtt(t, endpoint)
  await client.subscribeAsync('a', { qos: 1 })
  const packets = []
  const both = new Promise((resolve) => {
    client.on('message', (topic, payload, packet) => packets.push(packet) === 2 && resolve())
  })
  await client.publishAsync('a', 'x', { qos: 1 })
  await both
  const [first, second] = packets
  assert.deepEqual([first.dup, second.dup, first.messageId], [false, true, second.messageId])
})

test('MQTT.js: a redelivery with a new packet id and without DUP', async (t) => {
  const endpoint = await start(t)
  endpoint.faults.add({ on: 'publish', do: { duplicate: { newPacketId: true, dup: false } } })
  const client = await connectMqtt(t, endpoint)
  await client.subscribeAsync('a', { qos: 1 })
  const packets = []
  const both = new Promise((resolve) => {
    client.on('message', (topic, payload, packet) => packets.push(packet) === 2 && resolve())
  })
  await client.publishAsync('a', 'x', { qos: 1 })
  await both
  const [first, second] = packets
  assert.deepEqual([first.dup, second.dup], [false, false])
  assert.notEqual(first.messageId, second.messageId)
})

test('a packet from the client that comes twice is handled twice', async (t) => {
  const endpoint = await start(t, { faults: [{ on: 'publish', direction: 'in', do: { duplicate: true } }] })
  const client = await connectRaw(t, endpoint)
  client.send(publish('a', 'x', { qos: 1, messageId: 7 }))
  const pubacks = [await client.next(), await client.next()]
  assert.deepEqual(
    pubacks.map(({ cmd, messageId }) => [cmd, messageId]),
    [
      ['puback', 7],
      ['puback', 7],
    ],
  )
})

test('a CONNECT that comes twice is a protocol error of the open connection', async (t) => {
  const endpoint = await start(t, { faults: [{ on: 'connect', do: { duplicate: true } }] })
  const client = await openRaw(t, endpoint)
  client.send(connectPacket(5))
  const packets = await readAll(client)
  assert.deepEqual(
    packets.map(({ cmd, reasonCode }) => [cmd, reasonCode]),
    [
      ['connack', 0],
      ['disconnect', 0x82],
    ],
  )
})

test('a corrupt packet to the client cannot be read by MQTT.js', async (t) => {
  const endpoint = await start(t, { faults: [{ on: 'suback', do: { corrupt: true } }] })
  const client = await connectMqtt(t, endpoint)
  const failed = once(client, 'error')
  client.subscribe('a')
  const [error] = await failed
  assert.match(error.message, /variable byte integer/i)
})

test('a corrupt packet from the client ends the connection as malformed', async (t) => {
  const endpoint = await start(t, { faults: [{ on: 'subscribe', do: { corrupt: true } }] })
  const client = await connectRaw(t, endpoint)
  const answer = await subscribe(client, 'a')
  assert.deepEqual([answer.cmd, answer.reasonCode], ['disconnect', 0x81])
})

test('a client id picks the connections: text', async (t) => {
  const endpoint = await start(t, { faults: [{ on: 'pingreq', clientId: 'a', do: { close: true } }] })
  const [a, ab] = [
    await connectRaw(t, endpoint, { clientId: 'a' }),
    await connectRaw(t, endpoint, { clientId: 'ab' }),
  ]
  assert.equal((await ping(ab)).cmd, 'pingresp')
  assert.equal(await ping(a), undefined)
})

test('a client id picks the connections: a RegExp, whose memory does not matter', async (t) => {
  const endpoint = await start(t, { faults: [{ on: 'connect', clientId: /^dev-/g, do: { connack: 3 } }] })
  for (const [clientId, code] of [
    ['dev-1', 3],
    ['dev-2', 3],
    ['other', 0],
  ]) {
    const client = await openRaw(t, endpoint)
    assert.equal((await client.ask(connectPacket(5, { clientId }))).reasonCode, code)
  }
})

test('a topic picks the packets, also behind a topic alias', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  client.send(publish('a/b', '1', { properties: { topicAlias: 1 } }))
  client.send(publish('a', '2'))
  await ping(client)
  endpoint.faults.add({ on: 'publish', topic: 'a/#', do: { close: true } })
  client.send(publish('a', '3'))
  assert.equal((await ping(client)).cmd, 'pingresp')
  client.send(publish('', '4', { properties: { topicAlias: 1 } }))
  assert.equal(await client.next(), undefined)
})

test('skip lets some by, and times ends it', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  endpoint.faults.add({ on: 'puback', skip: 1, times: 2, do: { drop: true } })
  for (const messageId of [1, 2, 3, 4]) client.send(publish('a', 'x', { qos: 1, messageId }))
  client.send({ cmd: 'pingreq' })
  const answers = [await client.next(), await client.next(), await client.next()]
  assert.deepEqual(
    answers.map(({ cmd, messageId }) => [cmd, messageId]),
    [
      ['puback', 1],
      ['puback', 4],
      ['pingresp', undefined],
    ],
  )
})

test('of two faults that fit the first one is applied, and the other one does not count the packet', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  const first = endpoint.faults.add({ on: 'pingresp', times: 1, do: { drop: true } })
  const second = endpoint.faults.add({ on: 'any', direction: 'out', times: 1, do: { duplicate: true } })
  client.send({ cmd: 'pingreq' })
  client.send(publish('a', 'x', { qos: 1, messageId: 1 }))
  assert.deepEqual([(await client.next()).cmd, (await client.next()).cmd], ['puback', 'puback'])
  assert.deepEqual([first.hits, second.hits], [1, 1])
})

test('a removed fault harms nobody', async (t) => {
  const endpoint = await start(t)
  const fault = endpoint.faults.add({ on: 'pingreq', do: { close: true } })
  const client = await connectRaw(t, endpoint)
  fault.remove()
  assert.equal((await ping(client)).cmd, 'pingresp')
  assert.equal(fault.hits, 0)
})

test('clear removes all faults, those of the options too', async (t) => {
  const endpoint = await start(t, { faults: [{ on: 'connect', do: { close: true } }] })
  endpoint.faults.add({ on: 'pingreq', do: { close: true } })
  endpoint.faults.clear()
  const client = await connectRaw(t, endpoint)
  assert.equal((await ping(client)).cmd, 'pingresp')
})

test('hit tells of the next application, as the event does', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  const fault = endpoint.faults.add({ on: 'pingresp', do: { drop: true } })
  const hit = fault.hit()
  client.send({ cmd: 'pingreq' })
  const { time, ...applied } = await hit
  assert.ok(Number.isInteger(time))
  const { time: recorded, ...event } = lastOfType(endpoint, 'fault')
  assert.ok(Number.isInteger(recorded))
  assert.deepEqual(applied, event)
  assert.deepEqual(event, {
    type: 'fault',
    connectionId: lastOfType(endpoint, 'connected').connectionId,
    clientId: 'raw',
    packet: 'PINGRESP',
    direction: 'out',
    action: 'drop',
    message: 'PINGRESP to the client: is lost',
  })
})

test('hit is rejected once the fault can never be applied again', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  const removed = endpoint.faults.add({ on: 'connect', do: { close: true } })
  const used = endpoint.faults.add({ on: 'pingresp', times: 1, do: { duplicate: true } })
  await ping(client)
  const hit = removed.hit()
  removed.remove()
  await assert.rejects(hit, /"close" on connect is not applied again: the fault was removed \(hits: 0\)/)
  await assert.rejects(used.hit(), /its times are used up \(hits: 1\)/)
})
