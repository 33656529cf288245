import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { startEndingPeer } from './support/scripted-peer.mjs'

const peer = await startEndingPeer()
after(() => peer.close())

test('MQTT 3.1.1: a ping without an answer is an interrupt with ERR_KEEP_ALIVE, and the connection comes back', async () => {
  const mqttVersion = 3
  const { connection, link } = await peer.connect({ mqttVersion, keepAliveSeconds: 1, pingTimeoutMs: 50 })
  await link.expect('pingreq')
  const [{ error }] = await once(connection, 'interrupt')
  assert.deepEqual(
    [error.code, error.stage, error.retryable, connection.stats().lastError.code],
    ['ERR_KEEP_ALIVE', 'session', true, 'ERR_KEEP_ALIVE'],
  )
  await link.closed
  await peer.welcome()
  await once(connection, 'resume')
  await connection.disconnect()
})

test('pings go on behind a reconnect', async () => {
  const { connection, link } = await peer.connect({ keepAliveSeconds: 1 })
  link.end()
  const again = await peer.welcome()
  await again.expect('pingreq')
  again.send({ cmd: 'pingresp' })
  await again.expect('pingreq')
  again.send({ cmd: 'pingresp' })
  assert.equal(connection.state, 'connected')
  assert.ok(connection.stats().pingMs > 0)
  await connection.disconnect()
})

test('what was on its way when a ping had no answer is sent again', async () => {
  const { connection, link } = await peer.connect({ keepAliveSeconds: 1, pingTimeoutMs: 50 })
  const publishing = connection.publish('a', '')
  const { messageId } = await link.expect('publish')
  await link.expect('pingreq')
  const again = await peer.welcome({ sessionPresent: true })
  const resent = await again.acknowledge()
  assert.deepEqual([resent.topic, resent.messageId, resent.dup], ['a', messageId, true])
  await publishing
  await connection.disconnect()
})

test('what waits in the queue has no time for its acknowledgement yet', async () => {
  const { connection, link } = await peer.connect(
    { ackTimeoutMs: 400 },
    { properties: { receiveMaximum: 1 } },
  )
  const first = connection.publish('first', '')
  const rejected = assert.rejects(first, { code: 'ERR_ACK_TIMEOUT' })
  const second = connection.publish('second', '')
  await link.expect('publish')
  await rejected
  assert.equal((await link.acknowledge()).topic, 'second')
  await second
  await connection.disconnect()
})

test(
  'a server that takes nothing more: the connection is lost, and comes back',
  { timeout: 9_000 },
  async () => {
    const { connection, link } = await peer.connect({
      keepAliveSeconds: 1,
      pingTimeoutMs: 100,
      queue: { maxMessages: 100_000, maxBytes: 256 * 1_024 * 1_024 },
    })
    link.pause()
    const results = Array.from({ length: 200 }, () =>
      connection.publish('a', Buffer.alloc(100_000), { qos: 0 }),
    )
    const settling = Promise.allSettled(results)
    const [{ error }] = await once(connection, 'interrupt')
    assert.match(error.code, /^ERR_(KEEP_ALIVE|WRITE_STALLED)$/)
    link.destroy()
    await peer.welcome()
    await once(connection, 'resume')
    await settling
    await connection.disconnect({ force: true })
  },
)
