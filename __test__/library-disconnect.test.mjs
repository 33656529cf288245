import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

for (const mqttVersion of [3, 5]) {
  test(`MQTT ${mqttVersion}: disconnect() sends DISCONNECT and closes`, async () => {
    const { connection, link } = await peer.connect({ mqttVersion })
    await connection.disconnect()
    await link.expect('disconnect')
    await link.closed
    assert.equal(connection.state, 'closed')
    assert.deepEqual(await connection.closed, { unsettled: 0 })
  })
}

test('MQTT 5: disconnect() ends a session that began from nothing, and leaves a resumed one', async () => {
  const { connection, link } = await peer.connect()
  await connection.disconnect()
  assert.equal((await link.expect('disconnect')).properties.sessionExpiryInterval, 0)

  const kept = await peer.connect({ cleanSession: false, clientId: 'me' })
  await kept.connection.disconnect()
  assert.equal((await kept.link.expect('disconnect')).properties?.sessionExpiryInterval, undefined)
})

test('disconnect() twice is harmless, at once and later', async () => {
  const { connection, link } = await peer.connect()
  await Promise.all([connection.disconnect(), connection.disconnect()])
  await connection.disconnect()
  await link.expect('disconnect')
  await assert.rejects(link.expect('disconnect'), { message: /closed/ })
})

test('[Symbol.asyncDispose] disconnects', async () => {
  const { connection, link } = await peer.connect()
  await connection[Symbol.asyncDispose]()
  await link.expect('disconnect')
  assert.equal(connection.state, 'closed')
})

for (const [when, moment] of [
  ['while disconnecting', (connection) => void connection.disconnect()],
  ['after disconnect()', (connection) => connection.disconnect()],
]) {
  test(`${when} every operation rejects with ERR_CLOSED`, async () => {
    const { connection } = await peer.connect()
    await moment(connection)
    for (const operation of [
      connection.publish('a', 'x'),
      connection.publish('a', 'x', { qos: 0 }),
      connection.publish('a', 'x', 1),
      connection.subscribe('a'),
      connection.subscribe('a', 1, () => {}),
      connection.unsubscribe('a'),
    ]) {
      await assert.rejects(operation, { name: 'MqttError', code: 'ERR_CLOSED' })
    }
    await connection.closed
  })
}

test('disconnect() waits for what was accepted: queued publishes are sent and acknowledged first', async () => {
  const { connection, link } = await peer.connect({}, { properties: { receiveMaximum: 1 } })
  const publishing = ['a', 'b', 'c'].map((topic) => connection.publish(topic, ''))
  const ending = connection.disconnect()
  for (const topic of ['a', 'b', 'c']) assert.equal((await link.acknowledge()).topic, topic)
  await link.expect('disconnect')
  await ending
  assert.equal((await Promise.all(publishing)).length, 3)
  assert.deepEqual(await connection.closed, { unsettled: 0 })
})

test('QoS 0 that was accepted leaves before DISCONNECT', async () => {
  const { connection, link } = await peer.connect()
  const publishing = Array.from({ length: 100 }, (_, index) =>
    connection.publish(`t/${index}`, 'x', { qos: 0 }),
  )
  await connection.disconnect()
  await Promise.all(publishing)
  for (let index = 0; index < 100; index++) assert.equal((await link.expect('publish')).topic, `t/${index}`)
  await link.expect('disconnect')
})

test('what is not acknowledged by then rejects with ERR_CLOSED, and is counted', async () => {
  const { connection, link } = await peer.connect({}, { properties: { receiveMaximum: 1 } })
  const publishing = ['written', 'queued'].map((topic) => connection.publish(topic, ''))
  const subscribing = connection.subscribe('a')
  await link.expect('publish')
  await connection.disconnect({ timeoutMs: 20 })
  for (const operation of [...publishing, subscribing]) {
    await assert.rejects(operation, { name: 'MqttError', code: 'ERR_CLOSED', stage: 'operation' })
  }
  assert.deepEqual(await connection.closed, { unsettled: 3 })
  await link.expect('disconnect')
})

test('force waits for nothing, also where a graceful disconnect waits', async () => {
  const { connection, link } = await peer.connect()
  const publishing = connection.publish('a', '')
  await link.expect('publish')
  const patient = connection.disconnect({ timeoutMs: 2 ** 31 - 1 })
  await connection.disconnect({ force: true })
  await patient
  await assert.rejects(publishing, { code: 'ERR_CLOSED' })
})

test('a lost connection rejects everything that is open with its error', async () => {
  const { connection, link } = await peer.connect({ reconnect: false }, { properties: { receiveMaximum: 1 } })
  const operations = [
    connection.publish('written', ''),
    connection.publish('queued', ''),
    connection.subscribe('a'),
  ]
  await link.expect('publish')
  link.end()
  for (const operation of operations) {
    await assert.rejects(operation, { code: 'ERR_CONNECTION_LOST', stage: 'session' })
  }
  const { error, unsettled } = await connection.closed
  assert.equal(error.code, 'ERR_CONNECTION_LOST')
  assert.equal(unsettled, 3)
  await assert.rejects(connection.publish('a', ''), { code: 'ERR_CLOSED' })
})

test('a DISCONNECT of the server ends the connection with its reason', async () => {
  const { connection, link } = await peer.connect({ reconnect: false })
  link.send({ cmd: 'disconnect', reasonCode: 0x98, properties: { reasonString: 'maintenance' } })
  const { error } = await connection.closed
  assert.equal(error.code, 'ERR_SERVER_DISCONNECT')
  assert.equal(error.reasonCode, 0x98)
  assert.equal(error.reasonString, 'maintenance')
})

test('another client with the same id has a code of its own', async () => {
  const { connection, link } = await peer.connect({ reconnect: false })
  link.send({ cmd: 'disconnect', reasonCode: 0x8e })
  const { error } = await connection.closed
  assert.equal(error.code, 'ERR_SESSION_TAKEN_OVER')
  assert.equal(error.reasonCode, 0x8e)
})

test('what is accepted while the connection is ending is settled too', async () => {
  for (let round = 0; round < 20; round++) {
    const { connection, link } = await peer.connect({ reconnect: false })
    const { bytesReceived } = connection.stats()
    link.sendBytes(Buffer.of(0x00, 0x00))
    // Accepted here, sent at the end of this turn: by then the other thread has ended the connection.
    const publishing = connection.publish('a', '')
    while (connection.stats().bytesReceived === bytesReceived);
    await assert.rejects(publishing, { name: 'MqttError' })
    await connection.closed
  }
})
