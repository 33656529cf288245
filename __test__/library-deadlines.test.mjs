import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

const AT_ONCE = { limits: 'none', reconnect: { minDelayMs: 1, maxDelayMs: 5, spreadMs: 0 } }

test('a peer that answers no ping is given up, and the connection made again', async () => {
  const { connection, link } = await peer.connect({ ...AT_ONCE, keepAliveSeconds: 1, pingTimeoutMs: 20 })
  const interrupted = once(connection, 'interrupt')
  await link.expect('pingreq')
  const [{ error }] = await interrupted
  assert.equal(error.code, 'ERR_KEEP_ALIVE')
  assert.match(error.message, /did not answer a ping within 20 ms/)
  await peer.welcome()
  await once(connection, 'resume')
  await connection.disconnect()
})

test('a ping that is answered is measured', async () => {
  const { connection, link } = await peer.connect({ ...AT_ONCE, keepAliveSeconds: 1 })
  await link.expect('pingreq')
  link.send({ cmd: 'pingresp' })
  const publishing = connection.publish('t', '')
  await link.acknowledge()
  await publishing
  assert.ok(connection.stats().pingMs > 0)
  await connection.disconnect()
})

test('a peer that never answers CONNECT on a reconnect is given up, and tried again', async () => {
  const attempts = []
  const { connection, link } = await peer.connect({
    ...AT_ONCE,
    connectTimeoutMs: 100,
    onAttempt: ({ number, error }) => attempts.push([number, error?.code, error?.stage]),
  })
  link.destroy()
  const silent = await peer.accept()
  await silent.expect('connect')
  await peer.welcome()
  await once(connection, 'resume')
  assert.deepEqual(attempts, [
    [1, undefined, undefined],
    [2, 'ERR_CONNECT_TIMEOUT', 'connack'],
    [3, undefined, undefined],
  ])
  await connection.disconnect()
})

test('an operation that is not acknowledged in time fails alone, and the connection stays', async () => {
  const { connection, link } = await peer.connect({ ...AT_ONCE, ackTimeoutMs: 20 })
  const unanswered = [
    connection.publish('t', ''),
    connection.subscribe('t', {}, () => {}),
    connection.unsubscribe('u'),
  ]
  for (const operation of unanswered) {
    await assert.rejects(operation, { code: 'ERR_ACK_TIMEOUT', stage: 'operation' })
  }
  await link.expect('publish')
  const next = connection.publish('next', '')
  const { packet } = await link.until('next')
  link.send({ cmd: 'puback', messageId: packet.messageId })
  await next
  assert.equal(connection.stats().attempts, 1)
  await connection.disconnect()
})
