import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connectRaw, lastOfType, publish, start, subscribe } from './support.mjs'

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

test('a session of the other protocol version is not resumed', async (t) => {
  const endpoint = await start(t)
  const old = await connectRaw(t, endpoint, { protocolVersion: 4, clientId: 'device', ...persistent(4) })
  await leave(old)
  const next = await connectRaw(t, endpoint, { protocolVersion: 5, clientId: 'device', ...persistent(5) })
  assert.equal(next.connack.sessionPresent, false)
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
