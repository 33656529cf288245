import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

const message = (number) => ({ cmd: 'publish', topic: 't', payload: String(number), qos: 0 })

async function subscribed(options) {
  const { connection, link } = await peer.connect(options)
  const subscribing = connection.subscribe('t')
  await link.grant()
  return { connection, link, subscription: await subscribing }
}

test('beside a message listener, a subscription that no loop reads keeps nothing', async () => {
  const { connection, link } = await subscribed({ receive: { maxMessages: 10 } })
  let received = 0
  const all = new Promise((resolve) => {
    connection.on('message', () => {
      if (++received === 100) resolve()
    })
  })
  for (let number = 1; number <= 100; number++) link.send(message(number))
  await all
  await connection.disconnect({ force: true })
})

test('a loop beside a message listener gets what comes from its beginning on', async () => {
  const { connection, link, subscription } = await subscribed()
  connection.on('message', () => {})
  const loop = subscription[Symbol.asyncIterator]()
  link.send(message(1))
  assert.equal((await loop.next()).value.payload.toString(), '1')
  await connection.disconnect({ force: true })
})

test('a subscription that nobody reads becomes a process warning, once', async () => {
  const { connection, link } = await subscribed()
  const warned = once(process, 'warning')
  for (let number = 1; number <= 150; number++) link.send(message(number))
  const [warning] = await warned
  assert.equal(warning.name, 'UnreadSubscriptionWarning')
  assert.match(warning.message, /"t"/)
  await connection.disconnect({ force: true })
})

test('an end with an error that nobody watches becomes a process warning', async () => {
  const { connection, link } = await peer.connect({ reconnect: false })
  const warned = once(process, 'warning')
  link.end()
  const [warning] = await warned
  assert.equal(warning.name, 'ConnectionClosedWarning')
  assert.match(warning.message, new RegExp(`${connection.clientId}.*ERR_CONNECTION_LOST`))
})

test('an end that somebody watches warns of nothing', async (t) => {
  const warn = t.mock.method(process, 'emitWarning', () => {})
  const { connection, link } = await peer.connect({ reconnect: false })
  const { closed } = connection
  link.end()
  assert.equal((await closed).error.code, 'ERR_CONNECTION_LOST')
  assert.equal(warn.mock.callCount(), 0)
})

test('where less than that fills `receive`, the warning comes when it is full', async () => {
  const { connection, link } = await peer.connect({ receive: { maxMessages: 5 } })
  const granting = connection.subscribe('t')
  await link.grant()
  await granting
  const warned = once(process, 'warning')
  for (let number = 1; number <= 5; number++) {
    link.send({ cmd: 'publish', topic: 't', payload: '', qos: 1, messageId: number })
  }
  const [warning] = await warned
  assert.equal(warning.name, 'UnreadSubscriptionWarning')
  await connection.disconnect({ force: true })
})
