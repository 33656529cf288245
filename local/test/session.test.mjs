import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connectPacket, connectRaw, lastOfType, openRaw, publish, start, subscribe } from './support.mjs'

const persistent = (protocolVersion) =>
  protocolVersion === 4 ? { clean: false } : { clean: false, properties: { sessionExpiryInterval: 600 } }

async function leave(client) {
  client.send({ cmd: 'disconnect', reasonCode: 0 })
  await client.closed
}

/** Publishes with QoS 1 from another client and waits for the PUBACKs. */
async function publishAll(t, endpoint, topic, payloads) {
  const client = await connectRaw(t, endpoint, { clientId: 'publisher' })
  for (const [index, payload] of payloads.entries()) {
    const puback = await client.ask(publish(topic, payload, { qos: 1, messageId: index + 1 }))
    assert.equal(puback.cmd, 'puback')
  }
  await leave(client)
}

for (const protocolVersion of [4, 5]) {
  const name = protocolVersion === 4 ? '3.1.1' : 'MQTT 5'
  const options = { protocolVersion, clientId: 'device', ...persistent(protocolVersion) }

  test(`${name}: a persistent session keeps its subscriptions and the QoS 1 messages of the gap`, async (t) => {
    const endpoint = await start(t)
    const first = await connectRaw(t, endpoint, options)
    assert.equal(first.connack.sessionPresent, false)
    await subscribe(first, 'a')
    await leave(first)
    await publishAll(t, endpoint, 'a', ['1', '2', '3'])
    const second = await connectRaw(t, endpoint, options)
    assert.equal(second.connack.sessionPresent, true)
    for (const expected of ['1', '2', '3']) {
      const message = await second.next()
      assert.equal(message.payload.toString(), expected)
      second.send({ cmd: 'puback', messageId: message.messageId, reasonCode: 0 })
    }
  })

  test(`${name}: a message that was not acknowledged comes again after a reconnect, before newer ones`, async (t) => {
    const endpoint = await start(t)
    const first = await connectRaw(t, endpoint, options)
    await subscribe(first, 'a')
    await publishAll(t, endpoint, 'a', ['1'])
    assert.equal((await first.next()).payload.toString(), '1')
    first.socket.destroy()
    await first.closed
    await publishAll(t, endpoint, 'a', ['2'])
    const second = await connectRaw(t, endpoint, options)
    assert.equal((await second.next()).payload.toString(), '1')
    assert.equal((await second.next()).payload.toString(), '2')
  })

  test(`${name}: a clean start discards the session`, async (t) => {
    const endpoint = await start(t)
    const first = await connectRaw(t, endpoint, options)
    await subscribe(first, 'a')
    await leave(first)
    const clean = await connectRaw(t, endpoint, { ...options, clean: true })
    assert.equal(clean.connack.sessionPresent, false)
    clean.send(publish('a'))
    assert.equal((await clean.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
  })

  test(`${name}: a newcomer with the same client id closes the older connection`, async (t) => {
    const endpoint = await start(t)
    const will = { topic: 'will', payload: 'taken', qos: 0, retain: false }
    const watcher = await connectRaw(t, endpoint, { clientId: 'watcher' })
    await subscribe(watcher, 'will')
    const older = await connectRaw(t, endpoint, { ...options, will })
    await subscribe(older, 'a')
    const newer = await connectRaw(t, endpoint, options)
    if (protocolVersion === 5) {
      const disconnect = await older.next()
      assert.deepEqual([disconnect.cmd, disconnect.reasonCode], ['disconnect', 0x8e])
    }
    assert.equal(await older.next(), undefined)
    assert.equal(newer.connack.sessionPresent, true)
    assert.equal(lastOfType(endpoint, 'disconnected').disconnectReason, 'DUPLICATE_CLIENTID')
    assert.equal((await watcher.next()).payload.toString(), 'taken')
    assert.equal((await newer.ask(publish('a'))).topic, 'a')
  })
}

for (const [older, newer] of [
  [4, 5],
  [5, 4],
]) {
  test(`a session of protocol version ${older} is not resumed with version ${newer}`, async (t) => {
    const endpoint = await start(t)
    const options = (protocolVersion) => ({
      protocolVersion,
      clientId: 'device',
      ...persistent(protocolVersion),
    })
    await leave(await connectRaw(t, endpoint, options(older)))
    const next = await connectRaw(t, endpoint, options(newer))
    assert.equal(next.connack.sessionPresent, false)
  })
}

test('3.1.1: a persistent session expires after the time of the account', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const endpoint = await start(t)
  const options = { protocolVersion: 4, clientId: 'device', ...persistent(4) }
  await leave(await connectRaw(t, endpoint, options))
  t.mock.timers.tick(3_599_000)
  const second = await connectRaw(t, endpoint, options)
  assert.equal(second.connack.sessionPresent, true)
  await leave(second)
  t.mock.timers.tick(3_600_000)
  assert.equal((await connectRaw(t, endpoint, options)).connack.sessionPresent, false)
})

test('MQTT 5: DISCONNECT can shorten the life of the session', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const endpoint = await start(t)
  const options = { clientId: 'device', ...persistent(5) }
  const first = await connectRaw(t, endpoint, options)
  first.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 10 } })
  await first.closed
  t.mock.timers.tick(10_000)
  assert.equal((await connectRaw(t, endpoint, options)).connack.sessionPresent, false)
})

test('MQTT 5: an id that was assigned is refused when the client presents it', async (t) => {
  const endpoint = await start(t)
  const { connack } = await connectRaw(t, endpoint, { clientId: '' })
  const client = await openRaw(t, endpoint)
  const answer = await client.ask(connectPacket(5, { clientId: connack.properties.assignedClientIdentifier }))
  assert.equal(answer.reasonCode, 0x85)
})

test('of too many sessions without a connection the one that was left first is forgotten', async (t) => {
  const endpoint = await start(t, { limits: { storedSessions: 2 } })
  const options = (clientId) => ({ clientId, ...persistent(5) })
  for (const clientId of ['a', 'b', 'c']) await leave(await connectRaw(t, endpoint, options(clientId)))
  const present = []
  for (const clientId of ['b', 'a']) {
    const { connack } = await connectRaw(t, endpoint, options(clientId))
    present.push(connack.sessionPresent)
  }
  assert.deepEqual(present, [true, false])
})

test('MQTT 5: without a session expiry the session ends with its connection', async (t) => {
  const endpoint = await start(t)
  const first = await connectRaw(t, endpoint, { clientId: 'device', clean: false })
  await leave(first)
  const second = await connectRaw(t, endpoint, { clientId: 'device', clean: false })
  assert.equal(second.connack.sessionPresent, false)
})

test('MQTT 5: a session expires', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const endpoint = await start(t)
  const options = { clientId: 'device', ...persistent(5) }
  await leave(await connectRaw(t, endpoint, options))
  t.mock.timers.tick(599_000)
  const second = await connectRaw(t, endpoint, options)
  assert.equal(second.connack.sessionPresent, true)
  await leave(second)
  t.mock.timers.tick(600_000)
  const third = await connectRaw(t, endpoint, options)
  assert.equal(third.connack.sessionPresent, false)
})

test('MQTT 5: DISCONNECT can end the session, and cannot give it a life that CONNECT did not', async (t) => {
  const endpoint = await start(t)
  const first = await connectRaw(t, endpoint, { clientId: 'device', ...persistent(5) })
  first.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 0 } })
  await first.closed
  const second = await connectRaw(t, endpoint, { clientId: 'device', clean: false })
  assert.equal(second.connack.sessionPresent, false)
  const answer = await second.ask({
    cmd: 'disconnect',
    reasonCode: 0,
    properties: { sessionExpiryInterval: 60 },
  })
  assert.equal(answer.reasonCode, 0x82)
})

test('MQTT 5: a queued message is not delivered after its expiry', async (t) => {
  const now = Date.now()
  t.mock.timers.enable({ apis: ['Date'], now })
  const endpoint = await start(t)
  const options = { clientId: 'device', ...persistent(5) }
  const first = await connectRaw(t, endpoint, options)
  await subscribe(first, 'a')
  await leave(first)
  const publisher = await connectRaw(t, endpoint, { clientId: 'publisher' })
  for (const [messageId, messageExpiryInterval] of [
    [1, 10],
    [2, 100],
  ]) {
    await publisher.ask(
      publish('a', String(messageId), { qos: 1, messageId, properties: { messageExpiryInterval } }),
    )
  }
  t.mock.timers.setTime(now + 30_000)
  const second = await connectRaw(t, endpoint, options)
  const message = await second.next()
  assert.equal(message.payload.toString(), '2')
  assert.equal(message.properties.messageExpiryInterval, 70)
  assert.equal(lastOfType(endpoint, 'dropped').reason, 'expired')
})
