import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { handedOut, startPeer } from './support/scripted-peer.mjs'

/** What each connection takes ahead of its consumer. */
const CREDIT = 10
/** More than all connections of a test may take ahead together. */
const COUNT = 100
const PAYLOADS = Array.from({ length: COUNT }, (_, index) => String(index))
// For the test that fails: a message that does not come is waited for.
const timeout = 10_000

const peer = await startPeer()
after(() => peer.close())

const messages = (topic, qos) =>
  PAYLOADS.map((payload, index) => ({ cmd: 'publish', topic, payload, qos, messageId: index + 1 }))

async function subscribed(t, topic, qos, handler) {
  const { connection, link } = await peer.connect({ receive: { maxMessages: CREDIT } })
  t.after(() => connection.disconnect({ force: true }))
  const subscribing = connection.subscribe(topic, { qos }, handler)
  await link.grant(qos)
  await subscribing
  return { connection, link }
}

/** A connection whose handler is done with nothing, and has got all that it may while more is on its way. */
async function stuckHandler(t, qos) {
  const never = new Promise(() => {})
  const seen = []
  let full
  const filled = new Promise((resolve) => (full = resolve))
  const { connection, link } = await subscribed(t, 't', qos, (message) => {
    if (seen.push(message) === CREDIT) full()
    return never
  })
  link.send(...messages('t', qos))
  await filled
  return { connection, link, seen }
}

/** A connection whose messages nobody reads: the warning comes when it has taken all that it may. */
async function unread(t, qos) {
  const { link } = await subscribed(t, 't', qos)
  const full = once(process, 'warning')
  link.send(...messages('t', qos))
  const [{ name }] = await full
  assert.equal(name, 'UnreadSubscriptionWarning')
}

/** What arrives on a connection of its own, once as much has arrived as was sent. */
async function arrivals(t, topic, qos) {
  const got = []
  let done
  const all = new Promise((resolve) => (done = resolve))
  const { link } = await subscribed(t, topic, qos, ({ payload }) => {
    if (got.push(payload.toString()) === COUNT) done()
  })
  link.send(...messages(topic, qos))
  await all
  return got
}

test('a handler that does not end gets receive.maxMessages messages and no more', { timeout }, async (t) => {
  const { connection, link, seen } = await stuckHandler(t, 0)
  await handedOut(connection, link)
  assert.equal(seen.length, CREDIT)
})

for (const [consumer, stuck] of [
  ['a handler that does not end', stuckHandler],
  ['a subscription that nobody reads', unread],
]) {
  for (const [others, topic] of [
    ['the same topic', 't'],
    ['another topic', 'other'],
  ]) {
    for (const qos of [0, 1]) {
      const name = `beside ${consumer}, another connection gets all messages of ${others}, QoS ${qos}`
      test(name, { timeout }, async (t) => {
        await stuck(t, qos)
        assert.deepEqual(await arrivals(t, topic, qos), PAYLOADS)
      })
    }
  }
}
