import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createManualClock } from 'custom-authorizer-local'
import {
  allow,
  ARN,
  connectMqtt,
  connectPacket,
  connectRaw,
  deny,
  grant,
  lastOfType,
  openRaw,
  publish,
  start,
  startWith,
  subscribe,
} from './support.mjs'

const NOW = 1_700_000_000_000

/** `watched(filter)` reads what comes for it; each test subscribes to what it is about. */
async function startWatched(t, filter, options = {}) {
  const endpoint = await start(t, { clock: createManualClock(NOW), ...options })
  const watcher = await connectRaw(t, endpoint, { clientId: 'watcher', username: 'watcher' })
  await subscribe(watcher, filter, { qos: 0 })
  const next = async () => {
    const { topic, payload } = await watcher.next()
    return { topic, event: JSON.parse(payload.toString()) }
  }
  return { endpoint, watcher, next }
}

const leave = async (client) => {
  client.send({ cmd: 'disconnect', reasonCode: 0 })
  await client.closed
}

test('a connection is told to those who subscribed to it', async (t) => {
  const { endpoint, next } = await startWatched(t, '$aws/events/presence/connected/+')
  await connectMqtt(t, endpoint, { clientId: 'device' })
  const { topic, event } = await next()
  assert.equal(topic, '$aws/events/presence/connected/device')
  assert.deepEqual(event, {
    clientId: 'device',
    timestamp: NOW,
    eventType: 'connected',
    sessionIdentifier: lastOfType(endpoint, 'connected').connectionId,
    principalIdentifier: 'tester',
    ipAddress: '127.0.0.1',
    versionNumber: 0,
  })
})

test('the end of a connection is told with its reason', async (t) => {
  const { endpoint, next } = await startWatched(t, '$aws/events/presence/disconnected/#')
  await leave(await connectRaw(t, endpoint, { clientId: 'device' }))
  const { topic, event } = await next()
  assert.equal(topic, '$aws/events/presence/disconnected/device')
  assert.deepEqual(event, {
    clientId: 'device',
    timestamp: NOW,
    eventType: 'disconnected',
    sessionIdentifier: lastOfType(endpoint, 'disconnected').connectionId,
    principalIdentifier: 'tester',
    clientInitiatedDisconnect: true,
    disconnectReason: 'CLIENT_INITIATED_DISCONNECT',
    versionNumber: 0,
  })
})

test('an end that the client did not ask for is told as such', async (t) => {
  const { endpoint, next } = await startWatched(t, '$aws/events/presence/disconnected/device')
  const client = await connectRaw(t, endpoint, { clientId: 'device' })
  client.socket.destroy()
  const { clientInitiatedDisconnect, disconnectReason } = (await next()).event
  assert.deepEqual([clientInitiatedDisconnect, disconnectReason], [false, 'CONNECTION_LOST'])
})

test('the version number grows with each connection, and its end has the same', async (t) => {
  const { endpoint, next } = await startWatched(t, '$aws/events/presence/#')
  const versions = []
  for (let n = 0; n < 2; n++) {
    await leave(await connectRaw(t, endpoint, { clientId: 'device' }))
    for (let m = 0; m < 2; m++) versions.push((await next()).event.versionNumber)
  }
  assert.deepEqual(versions, [0, 0, 1, 1])
})

test('of a client id that is taken over the end comes before the new beginning', async (t) => {
  const { endpoint, next } = await startWatched(t, '$aws/events/presence/#')
  for (let n = 0; n < 2; n++) await connectRaw(t, endpoint, { clientId: 'device' })
  const told = []
  for (let n = 0; n < 3; n++) {
    const { eventType, versionNumber, disconnectReason } = (await next()).event
    told.push([eventType, versionNumber, disconnectReason])
  }
  assert.deepEqual(told, [
    ['connected', 0, undefined],
    ['disconnected', 0, 'DUPLICATE_CLIENTID'],
    ['connected', 1, undefined],
  ])
})

test('the version number begins anew after an hour without a connection', async (t) => {
  const clock = createManualClock(NOW)
  const { endpoint, watcher, next } = await startWatched(t, '$aws/events/presence/connected/device', {
    clock,
  })
  await leave(await connectRaw(t, endpoint, { clientId: 'device' }))
  await next()
  for (let minutes = 0; minutes < 60; minutes++) {
    await clock.advance(60_000)
    if (minutes < 59) assert.equal((await watcher.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
  }
  const again = await connectRaw(t, endpoint, { clientId: 'watcher2' })
  await subscribe(again, '$aws/events/presence/connected/device', { qos: 0 })
  await connectRaw(t, endpoint, { clientId: 'device' })
  assert.equal(JSON.parse((await again.next()).payload.toString()).versionNumber, 0)
})

test('of those who are away only so many are remembered, and the first to leave is forgotten first', async (t) => {
  const { endpoint, next } = await startWatched(t, '$aws/events/presence/connected/+', {
    limits: { storedSessions: 2 },
  })
  const versionOf = async (clientId) => {
    await leave(await connectRaw(t, endpoint, { clientId }))
    return (await next()).event.versionNumber
  }
  const versions = []
  for (const clientId of ['one', 'two', 'one', 'three', 'one', 'two'])
    versions.push(await versionOf(clientId))
  assert.deepEqual(versions, [0, 0, 1, 0, 2, 0])
})

const picky = (denial) => ({
  authorizers: {
    Open: {
      handler: ({ protocolData: { mqtt } }) => (mqtt.username === 'watcher' ? grant() : denial),
      signingDisabled: true,
    },
  },
})

test('a connection that the policy denies is told as failed', async (t) => {
  const options = picky(grant(allow('iot:Publish')))
  const { endpoint, next } = await startWatched(t, '$aws/events/presence/connect_failed/+', options)
  const client = await openRaw(t, endpoint)
  await client.ask(connectPacket(5, { clientId: 'device', username: 'other' }))
  const { topic, event } = await next()
  assert.equal(topic, '$aws/events/presence/connect_failed/device')
  assert.deepEqual(event, {
    clientId: 'device',
    timestamp: NOW,
    eventType: 'connect_failed',
    sessionIdentifier: lastOfType(endpoint, 'connect-refused').connectionId,
    principalIdentifier: 'tester',
    ipAddress: '127.0.0.1',
    connectFailureReason: 'AUTHORIZATION_FAILED',
    versionNumber: 0,
  })
})

test('a connection that the authorizer denies is told as failed, without a principal', async (t) => {
  const options = picky({ isAuthenticated: false })
  const { endpoint, next } = await startWatched(t, '$aws/events/presence/connect_failed/+', options)
  const client = await openRaw(t, endpoint)
  await client.ask(connectPacket(5, { clientId: 'device', username: 'other' }))
  const { event } = await next()
  assert.deepEqual([event.clientId, 'principalIdentifier' in event], ['device', false])
})

test('a SUBSCRIBE is told with the filters that were granted', async (t) => {
  const endpoint = await startWith(t, [allow('iot:*'), deny('iot:Subscribe', `${ARN}:topicfilter/no`)])
  const watcher = await connectRaw(t, endpoint, { clientId: 'watcher' })
  await subscribe(watcher, '$aws/events/subscriptions/subscribed/device')
  const client = await connectRaw(t, endpoint, { clientId: 'device' })
  const subscriptions = ['a/#', 'no', 'b'].map((topic) => ({ topic, qos: 0 }))
  client.send({ cmd: 'subscribe', messageId: 1, subscriptions })
  const { eventType, topics, principalIdentifier } = JSON.parse((await watcher.next()).payload.toString())
  assert.deepEqual([eventType, topics, principalIdentifier], ['subscribed', ['a/#', 'b'], 'tester'])
})

test('an UNSUBSCRIBE is told with its filters', async (t) => {
  const { endpoint, next } = await startWatched(t, '$aws/events/subscriptions/unsubscribed/+')
  const client = await connectRaw(t, endpoint, { clientId: 'device' })
  client.send({ cmd: 'unsubscribe', messageId: 1, unsubscriptions: ['a', 'b'] })
  const { topic, event } = await next()
  assert.equal(topic, '$aws/events/subscriptions/unsubscribed/device')
  assert.deepEqual([event.eventType, event.topics], ['unsubscribed', ['a', 'b']])
})

test('nothing is told of client ids with "#" or "+"', async (t) => {
  const { endpoint, next } = await startWatched(t, '$aws/events/presence/connected/#')
  for (const clientId of ['a+b', 'a#b', 'plain']) await connectRaw(t, endpoint, { clientId })
  assert.equal((await next()).event.clientId, 'plain')
})

test('lifecycle events are subject to iot:Receive as any message', async (t) => {
  const endpoint = await startWith(t, [allow('iot:*'), deny('iot:Receive', `${ARN}:topic/$aws/events/*`)])
  const watcher = await connectRaw(t, endpoint, { clientId: 'watcher' })
  await subscribe(watcher, '$aws/events/#')
  await connectRaw(t, endpoint, { clientId: 'device' })
  assert.equal((await watcher.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
  assert.deepEqual(
    [lastOfType(endpoint, 'receive').topic, lastOfType(endpoint, 'receive').allowed],
    ['$aws/events/presence/connected/device', false],
  )
})

test('no client may publish a lifecycle event', async (t) => {
  const endpoint = await start(t)
  const client = await connectRaw(t, endpoint)
  client.send(publish('$aws/events/presence/connected/other', '{}'))
  assert.equal((await client.next()).reasonCode, 0x90)
})

test('no Will may be a lifecycle event', async (t) => {
  const endpoint = await start(t)
  const client = await openRaw(t, endpoint)
  const will = { topic: '$aws/events/presence/connected/other', payload: '{}', qos: 0, retain: false }
  assert.equal((await client.ask(connectPacket(5, { will }))).reasonCode, 0x90)
})
