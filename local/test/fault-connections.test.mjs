import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { faultsOf } from './fault-support.mjs'
import {
  connectMqtt,
  connectPacket,
  connectRaw,
  lastOfType,
  openRaw,
  publish,
  start,
  subscribe,
} from './support.mjs'

/** The endpoint has nothing left to do for others: an answer of it came back. */
async function settle(t, endpoint) {
  const client = await connectRaw(t, endpoint, { clientId: 'settle' })
  assert.equal((await client.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
  client.socket.destroy()
}

const handleOf = (endpoint, id) => endpoint.connections.find(({ clientId }) => clientId === id)

test('connections are those of this moment, with their ids', async (t) => {
  const endpoint = await start(t)
  assert.deepEqual(endpoint.connections, [])
  const client = await connectRaw(t, endpoint, { clientId: 'one' })
  await connectRaw(t, endpoint, { clientId: 'two' })
  assert.deepEqual(
    endpoint.connections.map(({ clientId }) => clientId),
    ['one', 'two'],
  )
  assert.equal(endpoint.connections[1].connectionId, lastOfType(endpoint, 'connected').connectionId)
  endpoint.connections[0].reset()
  await client.closed
  assert.deepEqual(
    endpoint.connections.map(({ clientId }) => clientId),
    ['two'],
  )
})

test('a client id that the endpoint assigned is there too', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint, { clientId: '' })
  assert.equal(endpoint.connections[0].clientId, client.connack.properties.assignedClientIdentifier)
})

test('disconnect sends a code and a reason', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  endpoint.connections[0].disconnect(0x97, 'enough')
  const { reasonCode, properties } = await client.next()
  assert.deepEqual([reasonCode, properties.reasonString, await client.next()], [0x97, 'enough', undefined])
  assert.equal(lastOfType(endpoint, 'disconnected').disconnectReason, 'SERVER_INITIATED_DISCONNECT')
})

test('MQTT.js hears of a disconnect: an administrative action where no code is given', async (t) => {
  const endpoint = await start(t)
  const client = await connectMqtt(t, endpoint)
  const heard = once(client, 'disconnect')
  endpoint.connections[0].disconnect()
  const [packet] = await heard
  assert.equal(packet.reasonCode, 0x98)
})

test('close ends the connection without a word', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  endpoint.connections[0].close()
  assert.equal(await client.next(), undefined)
  assert.equal(lastOfType(endpoint, 'disconnected').disconnectReason, 'CONNECTION_LOST')
})

test('reset ends it as a network does that forgot it', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  const failed = once(client.socket, 'error')
  endpoint.connections[0].reset()
  assert.equal((await failed)[0].code, 'ECONNRESET')
})

test('a half-open connection answers nothing, reads nothing and stays open', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  endpoint.connections[0].halfOpen()
  client.send(publish('a', 'x', { qos: 1, messageId: 1 }))
  await settle(t, endpoint)
  assert.equal(endpoint.events.filter(({ type }) => type === 'publish').length, 0)
  assert.equal(client.socket.readyState, 'open')
})

test('a half-open connection that the endpoint gave up stays open for the client', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint, { clientId: 'same' })
  endpoint.connections[0].halfOpen()
  // The newcomer takes the client id; the old connection would be told, were it not half-open.
  await connectRaw(t, endpoint, { clientId: 'same' })
  assert.equal(lastOfType(endpoint, 'disconnected').disconnectReason, 'DUPLICATE_CLIENTID')
  await settle(t, endpoint)
  assert.equal(client.socket.readyState, 'open')
  endpoint.connections[0].close()
  assert.equal(await client.next(), undefined)
})

test('half-open at CONNACK: the client waits for an answer', async (t) => {
  const endpoint = await start(t, { faults: [{ on: 'connack', clientId: 'raw', do: { halfOpen: true } }] })
  const client = await openRaw(t, endpoint)
  client.send(connectPacket(5))
  await settle(t, endpoint)
  assert.deepEqual(faultsOf(endpoint), [['CONNACK', 'out', 'halfOpen']])
  assert.equal(client.socket.readyState, 'open')
})

test('the endpoint closes half-open connections with itself', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  endpoint.connections[0].halfOpen()
  await endpoint.close()
  await client.closed
})

test('a paused connection goes on where it was', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  await subscribe(client, 'a')
  const handle = handleOf(endpoint, 'raw')
  handle.pause()
  client.send({ cmd: 'pingreq' })
  const publisher = await connectRaw(t, endpoint, { clientId: 'publisher' })
  await publisher.ask(publish('a', 'x', { qos: 1, messageId: 1 }))
  assert.equal(client.socket.readyState, 'open')
  handle.resume()
  assert.deepEqual([(await client.next()).cmd, (await client.next()).cmd], ['publish', 'pingresp'])
})

test('send writes bytes that no broker would write', async (t) => {
  const endpoint = await start(t)
  const client = await connectMqtt(t, endpoint)
  const failed = once(client, 'error')
  endpoint.connections[0].send(Buffer.from([0xf1, 0x00]))
  const [error] = await failed
  assert.match(error.message, /header/i)
})

test('each action is recorded, without the bytes', async (t) => {
  const endpoint = await start(t)
  await connectRaw(t, endpoint)
  const [handle] = endpoint.connections
  handle.pause()
  handle.resume()
  handle.send(Buffer.from([0xd0, 0]))
  handle.close()
  assert.deepEqual(
    faultsOf(endpoint).map(([, , action]) => action),
    ['pause', 'resume', 'send', 'close'],
  )
})

test('actions on a connection that has gone do nothing', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  const [handle] = endpoint.connections
  handle.reset()
  await client.closed
  const { length } = endpoint.events
  handle.disconnect()
  handle.close()
  handle.reset()
  handle.halfOpen()
  handle.pause()
  handle.resume()
  handle.send(Buffer.of(0))
  assert.equal(endpoint.events.length, length)
})
