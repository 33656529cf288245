import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createManualClock } from 'custom-authorizer-local'
import {
  connectPacket,
  connectRaw,
  grant,
  lastOfType,
  ofType,
  openRaw,
  publish,
  start,
  subscribe,
  untilEvent,
} from './support.mjs'

async function startPaced(t, limits) {
  const clock = createManualClock()
  return { clock, endpoint: await start(t, { clock, limits }) }
}

/** What arrives until a PINGREQ sent now is answered. */
async function arrived(client) {
  client.send({ cmd: 'pingreq' })
  const packets = []
  for (let packet; (packet = await client.next()) && packet.cmd !== 'pingresp';) packets.push(packet)
  return packets
}
const payloads = (packets) =>
  packets.filter(({ cmd }) => cmd === 'publish').map(({ payload }) => payload.toString())

for (const protocolVersion of [4, 5]) {
  const name = protocolVersion === 4 ? '3.1.1' : 'MQTT 5'
  const connect = async (t, endpoint, clientId = 'device') =>
    (await openRaw(t, endpoint, { protocolVersion })).ask(connectPacket(protocolVersion, { clientId }))

  test(`${name}: a second CONNECT of a client id within a second is refused`, async (t) => {
    const { clock, endpoint } = await startPaced(t, { connectsPerSecond: 1 })
    await connect(t, endpoint)
    await clock.advance(999)
    const connack = await connect(t, endpoint)
    assert.equal(connack?.reasonCode, protocolVersion === 5 ? 0x97 : undefined)
    assert.equal(lastOfType(endpoint, 'connect-refused').rule, 'connect-throttled')
  })

  test(`${name}: a second later the client id may CONNECT again`, async (t) => {
    const { clock, endpoint } = await startPaced(t, { connectsPerSecond: 1 })
    await connect(t, endpoint)
    await clock.advance(1000)
    const connack = await connect(t, endpoint)
    assert.equal(connack.reasonCode ?? connack.returnCode, 0)
  })
}

test('a CONNECT that comes too early is not brought before the authorizer', async (t) => {
  const { endpoint } = await startPaced(t, { connectsPerSecond: 1 })
  for (let n = 0; n < 2; n++) await (await openRaw(t, endpoint)).ask(connectPacket(5))
  assert.equal(endpoint.invocations.length, 1)
})

test('client ids do not wait for each other', async (t) => {
  const { endpoint } = await startPaced(t, { connectsPerSecond: 1 })
  for (const clientId of ['a', 'b', 'c']) await connectRaw(t, endpoint, { clientId })
  assert.equal(ofType(endpoint, 'connected').length, 3)
})

test('QoS 1 messages beyond the rate are discarded without PUBACK', async (t) => {
  const { endpoint } = await startPaced(t, { publishesPerSecond: 3 })
  const client = await connectRaw(t, endpoint)
  for (let messageId = 1; messageId <= 5; messageId++) {
    client.send(publish(`t/${messageId}`, 'x', { qos: 1, messageId }))
  }
  assert.deepEqual(
    (await arrived(client)).map(({ messageId }) => messageId),
    [1, 2, 3],
  )
  assert.deepEqual(
    ofType(endpoint, 'dropped').map(({ topic, reason }) => [topic, reason]),
    [
      ['t/4', 'throttled'],
      ['t/5', 'throttled'],
    ],
  )
})

test('the rate of messages recovers with time', async (t) => {
  const { clock, endpoint } = await startPaced(t, { publishesPerSecond: 2 })
  const client = await connectRaw(t, endpoint)
  for (const messageId of [1, 2]) await client.ask(publish('a', 'x', { qos: 1, messageId }))
  await clock.advance(500)
  assert.equal((await client.ask(publish('a', 'x', { qos: 1, messageId: 3 }))).messageId, 3)
})

test('a topic alias is learnt even from a message that is discarded', async (t) => {
  const { clock, endpoint } = await startPaced(t, { publishesPerSecond: 1 })
  const client = await connectRaw(t, endpoint)
  client.send(publish('other'))
  client.send(publish('aliased', 'x', { properties: { topicAlias: 1 } }))
  await arrived(client)
  await clock.advance(1000)
  const puback = await client.ask(publish('', 'x', { qos: 1, messageId: 1, properties: { topicAlias: 1 } }))
  assert.equal(puback.cmd, 'puback')
  assert.equal(lastOfType(endpoint, 'publish').topic, 'aliased')
})

/** A slow reader's connection is not what limits here: a publisher of its own sends to it. */
async function sendFive(t, endpoint, qos) {
  const reader = await connectRaw(t, endpoint, { clientId: 'reader' })
  await subscribe(reader, 't', { qos })
  for (let n = 1; n <= 5; n++) {
    const publisher = await connectRaw(t, endpoint, { clientId: `publisher${n}` })
    await publisher.ask(publish('t', String(n), { qos: 1, messageId: 1 }))
  }
  return reader
}

test('QoS 0 messages to a client beyond the rate are lost', async (t) => {
  const { endpoint } = await startPaced(t, { publishesPerSecond: 2 })
  const reader = await sendFive(t, endpoint, 0)
  assert.deepEqual(payloads(await arrived(reader)), ['1', '2'])
  assert.equal(ofType(endpoint, 'dropped').filter(({ reason }) => reason === 'throttled').length, 3)
})

test('QoS 1 messages to a client beyond the rate come when there is room', async (t) => {
  const { clock, endpoint } = await startPaced(t, { publishesPerSecond: 2 })
  const reader = await sendFive(t, endpoint, 1)
  assert.deepEqual(payloads(await arrived(reader)), ['1', '2'])
  await clock.advance(500)
  assert.deepEqual(payloads(await arrived(reader)), ['3'])
  await clock.advance(1000)
  assert.deepEqual(payloads(await arrived(reader)), ['4', '5'])
})

test('a client beyond its bytes a second is answered and read on only when they are due', async (t) => {
  const { clock, endpoint } = await startPaced(t, { bytesPerSecond: 1000 })
  const client = await connectRaw(t, endpoint)
  client.send(publish('a', Buffer.alloc(3000), { qos: 1, messageId: 1 }))
  client.send({ cmd: 'pingreq' })
  let answered = false
  const puback = client.next().then((packet) => (answered = packet.cmd))
  // Long enough for the answer if there were one: another client has several round trips meanwhile.
  const other = await connectRaw(t, endpoint, { clientId: 'other' })
  for (let n = 0; n < 3; n++) await other.ask({ cmd: 'pingreq' })
  assert.equal(answered, false)
  await clock.advance(3000)
  assert.equal(await puback, 'puback')
  assert.equal((await client.next()).cmd, 'pingresp')
})

/** Makes a CONNECT of some 3,000 bytes. */
const LARGE_WILL = { topic: 'a', payload: Buffer.alloc(3000), qos: 0, retain: false }

test('a CONNECT beyond its bytes a second holds back its answer and what follows', async (t) => {
  const { clock, endpoint } = await startPaced(t, { bytesPerSecond: 1000 })
  const client = await openRaw(t, endpoint)
  client.send(connectPacket(5, { will: LARGE_WILL }))
  client.send({ cmd: 'pingreq' })
  let answered = false
  const connack = client.next().then((packet) => (answered = packet.cmd))
  const other = await connectRaw(t, endpoint, { clientId: 'other' })
  for (let n = 0; n < 3; n++) await other.ask({ cmd: 'pingreq' })
  assert.equal(answered, false)
  await clock.advance(3000)
  assert.equal(await connack, 'connack')
  assert.equal((await client.next()).cmd, 'pingresp')
})

test('a message to a client beyond its bytes a second comes when it is due, QoS 0 too', async (t) => {
  const { clock, endpoint } = await startPaced(t, { bytesPerSecond: 1000 })
  const reader = await connectRaw(t, endpoint, { clientId: 'reader' })
  await subscribe(reader, 't', { qos: 0 })
  for (const [name, payload] of [
    ['first', Buffer.alloc(500)],
    ['second', Buffer.alloc(500)],
    ['third', 'x'],
  ]) {
    const publisher = await connectRaw(t, endpoint, { clientId: name })
    await publisher.ask(publish('t', payload, { qos: 1, messageId: 1 }))
  }
  for (let n = 0; n < 2; n++) assert.equal((await reader.next()).payload.length, 500)
  const other = await connectRaw(t, endpoint, { clientId: 'other' })
  let arrivedEarly = false
  const third = reader.next().then(({ payload }) => (arrivedEarly = String(payload)))
  for (let n = 0; n < 3; n++) await other.ask({ cmd: 'pingreq' })
  assert.equal(arrivedEarly, false)
  await clock.advance(1000)
  assert.equal(await third, 'x')
})

test('a client beyond its bytes a second is told at once why its connection ends', async (t) => {
  const { endpoint } = await startPaced(t, { bytesPerSecond: 1000 })
  const client = await connectRaw(t, endpoint)
  client.send(publish('a', Buffer.alloc(3000), { qos: 1, messageId: 1 }))
  await untilEvent(endpoint, 'publish')
  endpoint.connections[0].disconnect(0x98)
  assert.equal((await client.next()).cmd, 'puback')
  assert.equal((await client.next()).reasonCode, 0x98)
})

test('bytes that are due again hand out no packet while the authorizer is thinking', async (t) => {
  const clock = createManualClock()
  let answer
  const asked = new Promise((resolve) => {
    answer = () => new Promise((answered) => resolve(() => answered(grant())))
  })
  const authorizers = { Open: { handler: () => answer(), signingDisabled: true } }
  const endpoint = await start(t, { clock, authorizers, limits: { bytesPerSecond: 1000 } })
  const client = await openRaw(t, endpoint)
  client.send(connectPacket(5, { will: LARGE_WILL }))
  client.send({ cmd: 'pingreq' })
  const allowNow = await asked
  await clock.advance(4000)
  allowNow()
  assert.deepEqual([(await client.next())?.cmd, (await client.next())?.cmd], ['connack', 'pingresp'])
})

test('a rate that is no number above 0 is refused', async (t) => {
  await assert.rejects(
    start(t, { limits: { publishesPerSecond: 0 } }),
    /limits.publishesPerSecond must be a number above 0, or Infinity; it is 0/,
  )
})
