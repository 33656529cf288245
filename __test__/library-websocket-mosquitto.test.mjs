import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { startProxy } from './support/chaos-proxy.mjs'
import { skip, startMosquitto } from './support/mosquitto.mjs'

let broker
before(async () => {
  if (!skip) broker = await startMosquitto({ websocket: true })
})
after(() => broker?.close())

/** Ends it when the test ends, however. */
async function connect(t, options = {}) {
  const connection = await connectWithCustomAuthorizer({ ...broker.where, ...options })
  t.after(() => connection.disconnect({ force: true }))
  return connection
}

for (const mqttVersion of [3, 5]) {
  for (const qos of [0, 1]) {
    test(`over WebSocket, MQTT ${mqttVersion}: a message at QoS ${qos} comes back`, { skip }, async (t) => {
      const connection = await connect(t, { mqttVersion })
      const subscription = await connection.subscribe(`back/${mqttVersion}/+`, { qos })
      await connection.publish(`back/${mqttVersion}/${qos}`, 'payload', { qos })
      const { value } = await subscription[Symbol.asyncIterator]().next()
      assert.deepEqual(
        { topic: value.topic, payload: value.payload.toString(), qos: value.qos },
        { topic: `back/${mqttVersion}/${qos}`, payload: 'payload', qos },
      )
    })
  }

  test(`over WebSocket, MQTT ${mqttVersion}: 120,000 bytes come back as they were`, { skip }, async (t) => {
    const connection = await connect(t, { mqttVersion })
    // Longer than a frame and a record of TLS; a period that divides neither shows bytes that are moved.
    const payload = Buffer.from(Array.from({ length: 120_000 }, (_, index) => index % 251))
    const subscription = await connection.subscribe('long')
    await connection.publish('long', payload)
    const { value } = await subscription[Symbol.asyncIterator]().next()
    assert.ok(value.payload.equals(payload))
  })

  // On MQTT 5 the broker says how many it takes.
  const inFlight = mqttVersion === 5 ? 20 : 100
  test(
    `over WebSocket, MQTT ${mqttVersion}: 2,000 publishes, ${inFlight} in flight, are acknowledged and come in order`,
    { skip },
    async (t) => {
      const COUNT = 2_000
      const limits = { publishesPerSecond: false, bytesPerSecond: false }
      const connection = await connect(t, { mqttVersion, limits })
      assert.equal(connection.negotiated.inFlight, inFlight)
      const got = []
      let done
      const all = new Promise((resolve) => (done = resolve))
      await connection.subscribe('many', {}, ({ payload }) => {
        if (got.push(Number(payload.toString())) === COUNT) done()
      })
      const results = await Promise.all(
        Array.from({ length: COUNT }, (_, index) => connection.publish('many', String(index))),
      )
      await all
      assert.ok(results.every(({ packetId }) => packetId > 0))
      assert.deepEqual(
        got,
        Array.from({ length: COUNT }, (_, index) => index),
      )
    },
  )

  /** The first message on the will's topic, once the client that had the will is gone for certain. */
  const firstAfter = async (t, end) => {
    const topic = `will/${mqttVersion}`
    const clientId = `with-will-${mqttVersion}`
    const watching = await connect(t, { mqttVersion })
    const reader = (await watching.subscribe(topic))[Symbol.asyncIterator]()
    await end({ mqttVersion, clientId, reconnect: false, will: { topic, payload: 'the will' } })
    // A broker that welcomes the same client id has done with the connection before.
    await (await connect(t, { mqttVersion, clientId })).disconnect()
    await watching.publish(topic, 'no will')
    return (await reader.next()).value.payload.toString()
  }

  test(`over WebSocket, MQTT ${mqttVersion}: disconnect() leaves no will`, { skip }, async (t) => {
    const first = await firstAfter(t, async (options) => (await connect(t, options)).disconnect())
    assert.equal(first, 'no will')
  })

  test(`over WebSocket, MQTT ${mqttVersion}: a cut connection leaves its will`, { skip }, async (t) => {
    const wire = await startProxy(broker.port)
    t.after(() => wire.close())
    const first = await firstAfter(t, async (options) => {
      const connection = await connect(t, { ...options, port: wire.port })
      wire.cut()
      await connection.closed
    })
    assert.equal(first, 'the will')
  })
}
