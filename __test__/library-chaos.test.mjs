import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { randomNumbers, startProxy } from './support/chaos-proxy.mjs'
import { skip, startMosquitto } from './support/mosquitto.mjs'

const COUNT = 20_000
const CUTS = 50

let broker
before(async () => {
  if (!skip) broker = await startMosquitto()
})
after(() => broker?.close())

/**
 * A network on which no connection lasts: most are cut in full run, some at once, some go silent. `scale` times so many
 * bytes pass: a server that sends a whole window again after each cut needs room for it.
 */
function badNetwork(seed, scale) {
  const random = randomNumbers(seed)
  const between = (low, high) => low + Math.floor(random() * (high - low))
  return startProxy(broker.port, () => {
    const kind = random()
    if (kind < 0.03) return { what: 'blackhole', after: scale * between(2_000, 12_000) }
    if (kind < 0.15) return { what: 'stall', after: scale * between(2_000, 12_000), ms: between(10, 150) }
    // Some before CONNACK, some right behind it.
    if (kind < 0.3) return { what: 'cut', after: between(100, 5_000) }
    return { what: 'cut', after: scale * between(6_000, 20_000) }
  })
}

function overBadNetwork(proxy, options) {
  return connectWithCustomAuthorizer({
    ...broker.where,
    port: proxy.port,
    limits: 'none',
    initialConnect: 'retry',
    reconnect: { minDelayMs: 1, maxDelayMs: 20, stableAfterMs: 1_000, spreadMs: 5 },
    // What goes silent is found soon.
    keepAliveSeconds: 1,
    pingTimeoutMs: 300,
    connectTimeoutMs: 2_000,
    ...options,
  })
}

/** Everything that arrives, in order, without what came again. */
function firsts() {
  const seen = new Set()
  const numbers = []
  let done
  const complete = new Promise((resolve) => (done = resolve))
  return {
    numbers,
    complete,
    add(payload) {
      const number = Number(payload.toString())
      if (seen.has(number)) return
      seen.add(number)
      numbers.push(number)
      if (numbers.length === COUNT) done()
    },
  }
}

const inOrder = Array.from({ length: COUNT }, (_, index) => index)

for (const mqttVersion of [5, 3]) {
  const session = mqttVersion === 3 ? { clientId: 'chaos-publisher', cleanSession: false } : {}

  test(
    `MQTT ${mqttVersion}: 20,000 publishes on a bad network are all acknowledged and arrive in order`,
    {
      skip,
      timeout: 240_000,
    },
    async () => {
      const proxy = await badNetwork(mqttVersion, 1)
      const subscriber = await connectWithCustomAuthorizer({ ...broker.where, limits: 'none' })
      const arrived = firsts()
      await subscriber.subscribe(`chaos/${mqttVersion}`, {}, ({ payload }) => arrived.add(payload))

      const publisher = await overBadNetwork(proxy, {
        mqttVersion,
        ...session,
        queue: { maxMessages: COUNT },
      })
      const errors = []
      publisher.on('interrupt', ({ error }) => errors.push(error.code))
      const published = inOrder.map((number) => publisher.publish(`chaos/${mqttVersion}`, String(number)))
      const outcomes = await Promise.allSettled(published)
      const failed = outcomes.filter(({ status }) => status === 'rejected')
      assert.deepEqual(
        failed.map(({ reason }) => reason.code),
        [],
      )
      await arrived.complete
      assert.deepEqual(arrived.numbers, inOrder)
      assert.ok(proxy.counts.cut >= CUTS, JSON.stringify(proxy.counts))
      assert.ok(errors.includes('ERR_KEEP_ALIVE'), 'nothing went silent')
      await Promise.all([publisher.disconnect({ force: true }), subscriber.disconnect()])
      await proxy.close()
    },
  )

  test(
    `MQTT ${mqttVersion}: 20,000 messages on a bad network are all received, acknowledged by the app`,
    {
      skip,
      timeout: 240_000,
    },
    async () => {
      const proxy = await badNetwork(mqttVersion + 10, 3)
      const kept = { mqttVersion, clientId: `chaos-receiver-${mqttVersion}`, cleanSession: false }
      const arrived = firsts()
      const receiver = await overBadNetwork(proxy, {
        ...kept,
        manualAck: true,
        onMessage: async (message) => {
          arrived.add(message.payload)
          await undefined
          message.ack()
        },
      })
      await receiver.subscribe(`received/${mqttVersion}`)
      const publisher = await connectWithCustomAuthorizer({
        ...broker.where,
        limits: 'none',
        queue: { maxMessages: COUNT },
      })
      await Promise.all(inOrder.map((number) => publisher.publish(`received/${mqttVersion}`, String(number))))
      await arrived.complete
      assert.deepEqual(arrived.numbers, inOrder)
      assert.ok(proxy.counts.cut >= CUTS, JSON.stringify(proxy.counts))
      await Promise.all([receiver.disconnect({ force: true }), publisher.disconnect()])
      await proxy.close()
    },
  )
}
