import assert from 'node:assert/strict'
import { test } from 'node:test'
import { StoppedClock } from './fault-support.mjs'
import { connectPacket, connectRaw, ofType, openRaw, publish, start, subscribe } from './support.mjs'

async function startStopped(t, options) {
  const clock = new StoppedClock()
  return { clock, endpoint: await start(t, { clock, ...options }) }
}

const qos1 = (messageId) => publish('a', String(messageId), { qos: 1, messageId })

test('a delayed packet comes when the clock says so, and not before', async (t) => {
  const { clock, endpoint } = await startStopped(t)
  const client = await connectRaw(t, endpoint)
  const other = await connectRaw(t, endpoint, { clientId: 'other' })
  const fault = endpoint.faults.add({ on: 'puback', clientId: 'raw', do: { delayMs: 5000 } })
  const hit = fault.hit()
  client.send(qos1(1))
  await hit
  clock.advance(4999)
  let early = true
  const puback = client.next().then((packet) => ({ packet, early }))
  // The other connection's answer shows that there was time for it.
  assert.equal((await other.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
  early = false
  clock.advance(1)
  assert.deepEqual([(await puback).packet.cmd, (await puback).early], ['puback', false])
})

test('what follows a delayed packet waits behind it', async (t) => {
  const { clock, endpoint } = await startStopped(t)
  const client = await connectRaw(t, endpoint)
  const delayed = endpoint.faults.add({ on: 'puback', do: { delayMs: 1000 } }).hit()
  client.send(qos1(1))
  client.send({ cmd: 'pingreq' })
  await delayed
  clock.advance(1000)
  assert.deepEqual([(await client.next()).cmd, (await client.next()).cmd], ['puback', 'pingresp'])
})

test('packets that are all delayed keep their distance, they do not add up', async (t) => {
  const { clock, endpoint } = await startStopped(t)
  const client = await connectRaw(t, endpoint)
  const fault = endpoint.faults.add({ on: 'puback', skip: 1, times: 1, do: { delayMs: 1000 } })
  const second = fault.hit()
  endpoint.faults.add({ on: 'puback', do: { delayMs: 1000 } })
  client.send(qos1(1))
  client.send(qos1(2))
  await second
  clock.advance(1000)
  assert.deepEqual([(await client.next()).messageId, (await client.next()).messageId], [1, 2])
})

test('a delayed packet from the client is not lost where the client leaves meanwhile', async (t) => {
  const { clock, endpoint } = await startStopped(t)
  const watcher = await connectRaw(t, endpoint, { clientId: 'watcher' })
  await subscribe(watcher, 'a')
  const client = await connectRaw(t, endpoint)
  const delayed = endpoint.faults.add({ on: 'publish', direction: 'in', do: { delayMs: 1000 } }).hit()
  client.send(publish('a', 'late'))
  await delayed
  client.socket.end()
  await client.closed
  assert.equal(ofType(endpoint, 'publish').length, 0)
  clock.advance(1000)
  assert.equal((await watcher.next()).payload.toString(), 'late')
})

test('CONNACK after a while', async (t) => {
  const { clock, endpoint } = await startStopped(t)
  const delayed = endpoint.faults.add({ on: 'connack', do: { delayMs: 1000 } }).hit()
  const client = await openRaw(t, endpoint)
  client.send(connectPacket(5))
  await delayed
  clock.advance(1000)
  assert.equal((await client.next()).cmd, 'connack')
})

test('a refusal after a while: delayMs beside connack', async (t) => {
  const { clock, endpoint } = await startStopped(t)
  const delayed = endpoint.faults.add({ on: 'connect', do: { connack: 3, delayMs: 1000 } }).hit()
  const client = await openRaw(t, endpoint, { protocolVersion: 4 })
  client.send(connectPacket(4))
  await delayed
  assert.equal(ofType(endpoint, 'connect-refused').length, 0)
  clock.advance(1000)
  assert.equal((await client.next()).returnCode, 3)
})

test('SUBACK and the first PUBLISH change places', async (t) => {
  const endpoint = await start(t)
  const publisher = await connectRaw(t, endpoint, { clientId: 'publisher' })
  await publisher.ask(publish('a', 'kept', { qos: 1, messageId: 1, retain: true }))
  endpoint.faults.add({ on: 'suback', do: { hold: 'publish' } })
  const client = await connectRaw(t, endpoint)
  const first = await subscribe(client, 'a')
  const second = await client.next()
  assert.deepEqual([first.cmd, second.cmd], ['publish', 'suback'])
})

test('a packet that is held until the next one goes right behind it', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  endpoint.faults.add({ on: 'puback', times: 1, do: { hold: 'until-next' } })
  client.send(qos1(1))
  client.send({ cmd: 'pingreq' })
  client.send(qos1(2))
  const answers = [await client.next(), await client.next(), await client.next()]
  assert.deepEqual(
    answers.map(({ cmd, messageId }) => [cmd, messageId]),
    [
      ['pingresp', undefined],
      ['puback', 1],
      ['puback', 2],
    ],
  )
})

test('two PUBLISH from the client change places', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  endpoint.faults.add({ on: 'publish', direction: 'in', times: 1, do: { hold: 'publish' } })
  client.send(qos1(1))
  client.send(qos1(2))
  assert.deepEqual([(await client.next()).messageId, (await client.next()).messageId], [2, 1])
})

test('a throttle lets so many bytes a second to the client', async (t) => {
  const { clock, endpoint } = await startStopped(t)
  const client = await connectRaw(t, endpoint)
  await subscribe(client, 'a')
  const fault = endpoint.faults.add({
    on: 'publish',
    direction: 'out',
    do: { throttle: { bytesPerSecond: 1000 } },
  })
  const hit = fault.hit()
  client.send(publish('a', Buffer.alloc(2000)))
  await hit
  const begin = clock.now()
  const state = { end: undefined }
  void client.next().then(() => (state.end = clock.now()))
  for (let ms = 0; ms < 60_000 && state.end === undefined; ms += 100) {
    clock.advance(100)
    await new Promise(setImmediate) // the socket takes its turn
  }
  // 2,006 bytes, of which the first 50 need no waiting.
  assert.ok(state.end - begin >= 1900, `it took ${state.end - begin} ms`)
  assert.equal(fault.hits, 1)
})

test('a throttle from the client: what it sends is read when its time has come', async (t) => {
  const { clock, endpoint } = await startStopped(t)
  const client = await connectRaw(t, endpoint)
  endpoint.faults.add({ on: 'pingreq', do: { throttle: { bytesPerSecond: 10 } } })
  assert.equal((await client.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
  client.send(publish('a', 'x'.repeat(10), { qos: 1, messageId: 1 }))
  const other = await connectRaw(t, endpoint, { clientId: 'other' })
  assert.equal((await other.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
  assert.equal(ofType(endpoint, 'publish').length, 0)
  clock.advance(2000)
  assert.equal((await client.next()).cmd, 'puback')
})

test('a throttle ends with its fault', async (t) => {
  const { clock, endpoint } = await startStopped(t)
  const client = await connectRaw(t, endpoint)
  const fault = endpoint.faults.add({ on: 'pingresp', do: { throttle: { bytesPerSecond: 1 } } })
  const hit = fault.hit()
  client.send({ cmd: 'pingreq' })
  await hit
  fault.remove()
  clock.advance(1000)
  assert.equal((await client.next()).cmd, 'pingresp')
  assert.equal((await client.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
})

test('close ends an endpoint whose faults wait for the clock', async (t) => {
  const { endpoint } = await startStopped(t)
  const client = await connectRaw(t, endpoint)
  const fault = endpoint.faults.add({ on: 'any', do: { delayMs: 60_000 } })
  const hit = fault.hit()
  client.send({ cmd: 'pingreq' })
  await hit
  await endpoint.close()
  await client.closed
  await assert.rejects(fault.hit(), /removed/)
})
