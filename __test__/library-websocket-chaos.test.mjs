import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { randomNumbers, startProxy } from './support/chaos-proxy.mjs'
import { skip, startMosquitto } from './support/mosquitto.mjs'
import { startScriptedProxy } from './support/scripted-http.mjs'

const COUNT = 3_000
const CUTS = 10

let broker
before(async () => {
  if (!skip) broker = await startMosquitto({ websocket: true })
})
after(() => broker?.close())

/** A network that cuts each connection after a while, some before the WebSocket is open. */
function badNetwork(seed) {
  const random = randomNumbers(seed)
  const between = (low, high) => low + Math.floor(random() * (high - low))
  return startProxy(broker.port, () =>
    random() < 0.2
      ? { what: 'cut', after: between(100, 3_000) }
      : { what: 'cut', after: between(6_000, 20_000) },
  )
}

for (const [what, mqttVersion, withProxy] of [
  ['MQTT 5', 5, false],
  ['MQTT 3', 3, false],
  ['MQTT 5 through a proxy', 5, true],
]) {
  test(
    `WebSocket, ${what}: on a bad network all publishes are acknowledged and arrive in order`,
    { skip },
    async (t) => {
      const wire = await badNetwork(mqttVersion)
      t.after(() => wire.close())
      const proxy = await startScriptedProxy()
      t.after(() => proxy.close())
      const topic = `chaos/${mqttVersion}/${withProxy}`
      const numbers = []
      const seen = new Set()
      let done
      const complete = new Promise((resolve) => (done = resolve))
      const subscriber = await connectWithCustomAuthorizer({ ...broker.where, limits: 'none' })
      t.after(() => subscriber.disconnect({ force: true }))
      await subscriber.subscribe(topic, {}, ({ payload }) => {
        const number = Number(payload.toString())
        // What was not acknowledged in time comes again.
        if (seen.has(number)) return
        seen.add(number)
        if (numbers.push(number) === COUNT) done()
      })
      const publisher = await connectWithCustomAuthorizer({
        ...broker.where,
        port: wire.port,
        ...(withProxy && { proxy: proxy.urlFor() }),
        mqttVersion,
        ...(mqttVersion === 3 && { clientId: 'websocket-chaos', cleanSession: false }),
        limits: 'none',
        initialConnect: 'retry',
        reconnect: { minDelayMs: 1, maxDelayMs: 20, stableAfterMs: 1_000, spreadMs: 5 },
        connectTimeoutMs: 5_000,
      })
      t.after(() => publisher.disconnect({ force: true }))
      await Promise.all(Array.from({ length: COUNT }, (_, index) => publisher.publish(topic, String(index))))
      await complete
      assert.deepEqual(
        numbers,
        Array.from({ length: COUNT }, (_, index) => index),
      )
      assert.ok(wire.counts.cut >= CUTS, JSON.stringify(wire.counts))
    },
  )
}
