import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

/** Calls `each` in every turn of the event loop, until it is stopped. */
function everyTurn(each) {
  let stopped = false
  const turn = () => {
    if (stopped) return
    each()
    setImmediate(turn)
  }
  setImmediate(turn)
  return () => (stopped = true)
}

test('a loop that publishes leaves the rest of the process its turns', async (t) => {
  const { connection } = await peer.connect({ limits: 'none' })
  t.after(() => connection.disconnect({ force: true }))
  let turns = 0
  const stop = everyTurn(() => turns++)
  for (let index = 0; index < 2_000; index++) await connection.publish('t', 'x', { qos: 0 })
  stop()
  assert.ok(turns >= 200, `${turns} turns`)
})

test('a flood of messages leaves the rest of the process its turns', async (t) => {
  const count = 8_000
  const { connection, link } = await peer.connect({ limits: 'none', receive: { maxMessages: count } })
  t.after(() => connection.disconnect({ force: true }))
  let total = 0
  let ofTurn = 0
  let most = 0
  let done
  const all = new Promise((resolve) => (done = resolve))
  const subscribing = connection.subscribe('t', { qos: 0 }, () => {
    // All of it is there before anything is handed over.
    if (total === 0) for (let look = 0; look < 1e6 && connection.stats().messagesReceived < count; look++);
    most = Math.max(most, ++ofTurn)
    if (++total === count) done()
  })
  await link.grant(0)
  await subscribing
  const stop = everyTurn(() => (ofTurn = 0))
  const message = link.encode({ cmd: 'publish', topic: 't', payload: 'x', qos: 0 })
  link.sendBytes(Buffer.concat(Array(count).fill(message)))
  await all
  stop()
  assert.ok(most <= 2_048, `${most} messages in one turn`)
})
