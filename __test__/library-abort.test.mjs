import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { after, test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { sentSoFar, startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

const reason = new Error('changed my mind')
const rejectsWithReason = (promise) => assert.rejects(promise, (error) => error === reason)
const listenersOf = (signal) => getEventListeners(signal, 'abort').length

/** A connection whose window is taken by a publish that the peer does not acknowledge: what comes next is queued. */
async function connectedAndBusy() {
  const { connection, link } = await peer.connect({}, { properties: { receiveMaximum: 1 } })
  const first = connection.publish('first', '')
  const { messageId } = await link.expect('publish')
  const release = async () => {
    link.send({ cmd: 'puback', messageId, reasonCode: 0 })
    await first
  }
  return { connection, link, release }
}

test('connect with an aborted signal: rejected with its reason, nothing is sent', async () => {
  const signal = AbortSignal.abort(reason)
  await rejectsWithReason(connectWithCustomAuthorizer({ ...peer.where, signal }))
})

test('aborting a connect rejects with the reason, and ends the attempt', async () => {
  const controller = new AbortController()
  const connecting = connectWithCustomAuthorizer({ ...peer.where, signal: controller.signal })
  const link = await peer.accept()
  await link.expect('connect')
  controller.abort(reason)
  await rejectsWithReason(connecting)
  await link.closed
  assert.equal(listenersOf(controller.signal), 0)
})

test('a connect that fails by itself leaves no listener on the signal', async () => {
  const { signal } = new AbortController()
  const connecting = connectWithCustomAuthorizer({ ...peer.where, signal })
  const link = await peer.accept()
  link.destroy()
  await assert.rejects(connecting, { name: 'MqttError' })
  assert.equal(listenersOf(signal), 0)
})

test('once connected the signal has no effect', async () => {
  const controller = new AbortController()
  const { connection, link } = await peer.connect({ signal: controller.signal })
  assert.equal(listenersOf(controller.signal), 0)
  controller.abort(reason)
  assert.equal(connection.state, 'connected')
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect()
})

test('publish and subscribe with an aborted signal send nothing', async () => {
  const { connection, link } = await peer.connect()
  const signal = AbortSignal.abort(reason)
  await rejectsWithReason(connection.publish('a', '', { signal }))
  await rejectsWithReason(connection.subscribe('a', { signal }))
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect()
})

test('a publish that is aborted while it waits is never sent', async () => {
  const { connection, link, release } = await connectedAndBusy()
  const controller = new AbortController()
  const publishing = connection.publish('second', '', { signal: controller.signal })
  controller.abort(reason)
  await rejectsWithReason(publishing)
  await release()
  assert.deepEqual(await sentSoFar(connection, link), [])
  assert.equal(listenersOf(controller.signal), 0)
  await connection.disconnect()
})

test('a publish that is aborted in the turn in which it was called is never sent', async () => {
  const { connection, link } = await peer.connect()
  const controller = new AbortController()
  const publishing = connection.publish('a', '', { qos: 0, signal: controller.signal })
  controller.abort(reason)
  await rejectsWithReason(publishing)
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect()
})

test('a publish that is aborted once sent rejects, and its acknowledgement is no surprise', async () => {
  const { connection, link } = await peer.connect()
  const controller = new AbortController()
  const publishing = connection.publish('a', '', { signal: controller.signal })
  const { messageId } = await link.expect('publish')
  controller.abort(reason)
  await rejectsWithReason(publishing)
  link.send({ cmd: 'puback', messageId, reasonCode: 0 })
  const next = connection.publish('b', '')
  await link.acknowledge()
  await next
  assert.equal(listenersOf(controller.signal), 0)
  await connection.disconnect()
})

test('abandoned publishes do not take the numbers of later ones', async () => {
  const { connection, link } = await peer.connect()
  const controller = new AbortController()
  const aborted = connection.publish('aborted', '', { signal: controller.signal })
  const { messageId } = await link.expect('publish')
  controller.abort(reason)
  await rejectsWithReason(aborted)
  const later = connection.publish('later', '')
  const second = await link.expect('publish')
  link.send({ cmd: 'puback', messageId, reasonCode: 0x87 })
  link.send({ cmd: 'puback', messageId: second.messageId, reasonCode: 16 })
  assert.deepEqual(await later, { packetId: second.messageId, reasonCode: 16 })
  await connection.disconnect()
})

test('settled operations leave no listener on the signal', async () => {
  const { connection, link } = await peer.connect({ reconnect: false })
  const { signal } = new AbortController()
  await Promise.all(Array.from({ length: 50 }, () => connection.publish('a', '', { qos: 0, signal })))
  await assert.rejects(connection.publish('a/#', '', { signal }))
  assert.equal(listenersOf(signal), 0)
  const publishing = connection.publish('b', '', { signal })
  await link.until('b')
  link.destroy()
  await assert.rejects(publishing)
  assert.equal(listenersOf(signal), 0)
})

test('a subscribe that is aborted while it waits is never sent', async () => {
  const { connection, link, release } = await connectedAndBusy()
  const second = connection.publish('second', '')
  const controller = new AbortController()
  const subscribing = connection.subscribe('a', { signal: controller.signal }, () => {})
  controller.abort(reason)
  await rejectsWithReason(subscribing)
  await release()
  await link.acknowledge()
  await second
  const cmds = (await sentSoFar(connection, link)).map(({ cmd }) => cmd)
  assert.ok(!cmds.includes('subscribe'), cmds.join())
  await connection.disconnect({ force: true })
})

test('a subscribe that is aborted once sent is taken back from the server', async () => {
  const { connection, link } = await peer.connect()
  const controller = new AbortController()
  const subscribing = connection.subscribe(['a', 'b'], { signal: controller.signal }, () => {})
  const { messageId } = await link.expect('subscribe')
  controller.abort(reason)
  await rejectsWithReason(subscribing)
  link.send({ cmd: 'suback', messageId, granted: [1, 1] })
  assert.deepEqual((await link.grantUnsubscribe()).unsubscriptions, ['a', 'b'])
  await connection.disconnect()
})

test('a subscribe that is aborted takes nothing from another use of its filter', async () => {
  const { connection, link } = await peer.connect()
  const first = connection.subscribe('a', {}, () => {})
  await link.grant()
  await first
  const controller = new AbortController()
  const second = connection.subscribe('a', { signal: controller.signal }, () => {})
  const { messageId } = await link.expect('subscribe')
  controller.abort(reason)
  await rejectsWithReason(second)
  link.send({ cmd: 'suback', messageId, granted: [1] })
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect()
})

test('many operations on one signal raise no warning', async () => {
  const { connection, link } = await peer.connect()
  const warnings = []
  const listen = (warning) => warnings.push(warning.name)
  process.on('warning', listen)
  const controller = new AbortController()
  const publishing = Array.from({ length: 30 }, () =>
    connection.publish('a', '', { signal: controller.signal }).catch(() => {}),
  )
  await link.expect('publish')
  await new Promise((resolve) => setImmediate(resolve))
  process.off('warning', listen)
  assert.deepEqual(warnings, [])
  controller.abort(reason)
  await Promise.all(publishing)
  await connection.disconnect({ force: true })
})

test('aborting an unsubscribe that waits rejects with the reason, and nothing of it is sent', async () => {
  const { connection, link } = await peer.connect({}, { properties: { receiveMaximum: 1 } })
  const granting = connection.subscribe('a', {}, () => {})
  await link.grant()
  await granting
  const holding = connection.publish('held', '')
  const next = connection.publish('next', '')
  const controller = new AbortController()
  const ending = connection.unsubscribe('a', { signal: controller.signal })
  controller.abort(new Error('enough'))
  await assert.rejects(ending, { message: 'enough' })
  await link.acknowledge()
  await link.acknowledge()
  await Promise.all([holding, next])
  assert.deepEqual(await sentSoFar(connection, link), [])
  await connection.disconnect()
})
