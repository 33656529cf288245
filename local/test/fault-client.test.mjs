import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { connectOwn, faultsOf } from './fault-support.mjs'
import { lastOfType, ofType, start } from './support.mjs'

// What this repository's client promises, under the faults.

for (const mqttVersion of [3, 5]) {
  const name = mqttVersion === 3 ? '3.1.1' : 'MQTT 5'

  test(`${name}: a message whose PUBACK was lost is sent again after a reconnect`, async (t) => {
    const endpoint = await start(t)
    const fault = endpoint.faults.add({ on: 'puback', times: 1, do: { drop: true } })
    const dropped = fault.hit()
    const connection = await connectOwn(t, endpoint, { mqttVersion })
    const published = connection.publish('a', 'x')
    await dropped
    endpoint.connections[0].reset()
    await published
    assert.deepEqual(
      ofType(endpoint, 'publish').map(({ topic }) => topic),
      ['a', 'a'],
    )
  })

  test(`${name}: a message that comes before its SUBACK is delivered`, async (t) => {
    const endpoint = await start(t)
    const connection = await connectOwn(t, endpoint, { mqttVersion })
    await connection.publish('a', 'kept', { retain: true })
    endpoint.faults.add({ on: 'suback', do: { hold: 'publish' } })
    let deliver
    const delivered = new Promise((resolve) => (deliver = resolve))
    await connection.subscribe('a', {}, ({ payload }) => deliver(payload.toString()))
    assert.equal(await delivered, 'kept')
    assert.deepEqual(faultsOf(endpoint), [['SUBACK', 'out', 'hold']])
  })

  test(`${name}: a message that comes twice with two packet ids is acknowledged twice`, async (t) => {
    const endpoint = await start(t)
    endpoint.faults.add({ on: 'publish', do: { duplicate: { newPacketId: true, dup: false } } })
    const acknowledged = endpoint.faults.add({
      on: 'puback',
      direction: 'in',
      skip: 1,
      do: { delayMs: 0 },
    })
    const hit = acknowledged.hit()
    const connection = await connectOwn(t, endpoint, { mqttVersion })
    await connection.subscribe('a', {}, () => {})
    await connection.publish('a', 'x')
    assert.equal((await hit).packet, 'PUBACK')
  })

  test(`${name}: a half-open connection is found by keep-alive, and replaced`, async (t) => {
    // Else MQTT 5's Server Keep Alive makes 30 s of it.
    const endpoint = await start(t, { limits: { minKeepAliveSeconds: 1 } })
    const connection = await connectOwn(t, endpoint, { mqttVersion, keepAliveSeconds: 1, pingTimeoutMs: 200 })
    const interrupted = once(connection, 'interrupt')
    const resumed = once(connection, 'resume')
    endpoint.connections[0].halfOpen()
    const [{ error }] = await interrupted
    await resumed
    assert.equal(error.code, 'ERR_KEEP_ALIVE')
  })

  test(`${name}: a malformed SUBACK ends the connection, and the subscription comes with the next one`, async (t) => {
    const endpoint = await start(t)
    endpoint.faults.add({ on: 'suback', times: 1, do: { corrupt: true } })
    const connection = await connectOwn(t, endpoint, { mqttVersion })
    let deliver
    const delivered = new Promise((resolve) => (deliver = resolve))
    await connection.subscribe('a', {}, ({ payload }) => deliver(payload.toString()))
    await connection.publish('a', 'x')
    assert.equal(await delivered, 'x')
  })
}

test('3.1.1: CONNACK with code 7 is ERR_NOT_AUTHORIZED', async (t) => {
  const endpoint = await start(t, { faults: [{ on: 'connect', do: { connack: 7 } }] })
  await assert.rejects(connectOwn(t, endpoint, { mqttVersion: 3 }), { code: 'ERR_NOT_AUTHORIZED' })
})

test('a close instead of CONNACK fails the first connect', async (t) => {
  const endpoint = await start(t, { faults: [{ on: 'connack', do: { close: true } }] })
  await assert.rejects(connectOwn(t, endpoint), { name: 'MqttError' })
  assert.equal(lastOfType(endpoint, 'fault').action, 'close')
})

test('MQTT 5: the code of a DISCONNECT reaches the app', async (t) => {
  const endpoint = await start(t)
  const connection = await connectOwn(t, endpoint, { mqttVersion: 5 })
  const interrupted = once(connection, 'interrupt')
  endpoint.connections[0].disconnect(0x9b)
  const [{ error }] = await interrupted
  assert.equal(error.reasonCode, 0x9b)
})
