import assert from 'node:assert/strict'
import diagnostics from 'node:diagnostics_channel'
import { after, test } from 'node:test'
import { startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

test('attempts and the events of a connection are published, with the connection and what they hold', async () => {
  const published = []
  const subscriptions = ['attempt', 'connect', 'interrupt', 'resume', 'closed'].map((event) => {
    const name = `custom-authorizer-connect:${event}`
    const listener = (message) => published.push([event, message])
    diagnostics.subscribe(name, listener)
    return () => diagnostics.unsubscribe(name, listener)
  })
  const { connection, link } = await peer.connect({
    clientId: 'watched',
    limits: 'none',
    reconnect: { minDelayMs: 1, maxDelayMs: 5, spreadMs: 0 },
  })
  link.destroy()
  await peer.welcome()
  await new Promise((resolve) => connection.once('resume', resolve))
  await connection.disconnect()
  subscriptions.forEach((unsubscribe) => unsubscribe())

  assert.deepEqual(
    published.map(([event]) => event),
    ['attempt', 'connect', 'interrupt', 'attempt', 'resume', 'closed'],
  )
  for (const [, message] of published) {
    assert.equal(message.connection, connection)
    assert.equal(message.clientId, 'watched')
  }
  const of = (event) => published.findLast(([name]) => name === event)[1]
  assert.equal(of('attempt').number, 2)
  assert.deepEqual(of('connect').negotiated, connection.negotiated)
  assert.equal(of('interrupt').error.code, 'ERR_CONNECTION_LOST')
  assert.equal(of('resume').sessionPresent, false)
  assert.equal(of('closed').unsettled, 0)
})
