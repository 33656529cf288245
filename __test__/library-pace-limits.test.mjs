import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startEndingPeer } from './support/scripted-peer.mjs'

const peer = await startEndingPeer()
after(() => peer.close())

/** Acknowledges everything that comes until the connection ends; gives the payloads in order. */
async function acknowledgeAll(link) {
  const payloads = []
  for (;;) {
    const packet = await link.any()
    if (packet.cmd === 'disconnect') return payloads
    payloads.push(packet.payload.toString())
    if (packet.qos === 1) link.send({ cmd: 'puback', messageId: packet.messageId, reasonCode: 0 })
  }
}

for (const qos of [0, 1]) {
  test(`QoS ${qos} beyond publishesPerSecond waits, all of it resolves in order, and pacedMs says how long`, async () => {
    const { connection, link } = await peer.connect({ limits: { publishesPerSecond: 20 } })
    assert.equal(connection.stats().pacedMs, 0)
    const serving = acknowledgeAll(link)
    const results = Array.from({ length: 30 }, (_, index) => connection.publish('t', String(index), { qos }))
    await Promise.all(results)
    assert.ok(connection.stats().pacedMs > 0, `${connection.stats().pacedMs}`)
    await connection.disconnect()
    assert.deepEqual(
      await serving,
      Array.from({ length: 30 }, (_, index) => String(index)),
    )
  })
}

test('a message of more than bytesPerSecond is sent all the same', async () => {
  const { connection, link } = await peer.connect({ limits: { bytesPerSecond: 1_000 } })
  const serving = acknowledgeAll(link)
  await connection.publish('t', 'x'.repeat(1_500))
  await connection.disconnect()
  assert.equal((await serving)[0].length, 1_500)
})

test('what is paced can still be aborted', async () => {
  const { connection, link } = await peer.connect({ limits: { publishesPerSecond: 1 } })
  const serving = acknowledgeAll(link)
  const controller = new AbortController()
  const reason = new Error('changed my mind')
  const kept = connection.publish('t', 'kept')
  const aborted = Array.from({ length: 5 }, (_, index) =>
    assert.rejects(
      connection.publish('t', `aborted ${index}`, { signal: controller.signal }),
      (error) => error === reason,
    ),
  )
  await kept
  controller.abort(reason)
  await Promise.all(aborted)
  await connection.disconnect()
  const served = await serving
  assert.equal(served[0], 'kept')
  assert.ok(served.length < 6, served.join())
})

test("with limits: 'none' nothing waits to keep a rate", async () => {
  const limits = 'none'
  const { connection, link } = await peer.connect({ limits })
  const serving = acknowledgeAll(link)
  await Promise.all(Array.from({ length: 500 }, (_, index) => connection.publish('t', String(index))))
  assert.equal(connection.stats().pacedMs, 0)
  await connection.disconnect()
  assert.equal((await serving).length, 500)
})

test('within the rates nothing waits', async () => {
  const { connection, link } = await peer.connect({ limits: 'aws-iot-core' })
  const serving = acknowledgeAll(link)
  await Promise.all(Array.from({ length: 50 }, (_, index) => connection.publish('t', String(index))))
  assert.equal(connection.stats().pacedMs, 0)
  await connection.disconnect()
  await serving
})

test('limits.inFlight: false leaves the bound to the server', async () => {
  const { connection } = await peer.connect(
    { limits: { inFlight: false } },
    { properties: { receiveMaximum: 5_000 } },
  )
  assert.equal(connection.negotiated.inFlight, 5_000)
  await connection.disconnect()
})

test('an object changes single limits: the others are those of IoT Core', async () => {
  const { connection } = await peer.connect({ limits: { publishesPerSecond: false } })
  await assert.rejects(connection.publish('a/b/c/d/e/f/g/h/i', ''), { code: 'ERR_INVALID_TOPIC' })
  assert.equal(connection.negotiated.inFlight, 100)
  await connection.disconnect()
})

for (const [name, value] of [
  ['publishesPerSecond', 0],
  ['publishesPerSecond', -1],
  ['bytesPerSecond', 0.5],
  ['inFlight', 0],
  ['inFlight', 70_000],
  ['subscriptions', true],
  ['subscriptions', '50'],
  ['topics', 1],
]) {
  test(`limits.${name} ${typeof value} ${value}: ERR_INVALID_OPTION that names it`, async () => {
    await assert.rejects(peer.dial({ limits: { [name]: value } }), {
      code: 'ERR_INVALID_OPTION',
      message: new RegExp(`limits\\..*${name}`),
    })
  })
}

test('limits of another name: ERR_INVALID_OPTION', async () => {
  await assert.rejects(peer.dial({ limits: 'aws' }), { code: 'ERR_INVALID_OPTION', message: /limits/ })
})
