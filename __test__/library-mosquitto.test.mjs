import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { skip, startMosquitto } from './support/mosquitto.mjs'

let broker
before(async () => {
  if (!skip) broker = await startMosquitto()
})
after(() => broker?.close())

/** IoT Core's limits without its pace. */
const UNPACED = { publishesPerSecond: false, bytesPerSecond: false }
const connect = (options) => connectWithCustomAuthorizer({ ...broker.where, ...options })

for (const mqttVersion of [3, 5]) {
  test(`MQTT ${mqttVersion}: publish, subscribe and receive at both QoS`, { skip }, async () => {
    const connection = await connect({ mqttVersion })
    const subscription = await connection.subscribe(['a/+', 'b/#'])
    assert.deepEqual(subscription.granted, [
      { filter: 'a/+', qos: 1 },
      { filter: 'b/#', qos: 1 },
    ])
    const reader = subscription[Symbol.asyncIterator]()
    for (const [topic, payload, qos] of [
      ['a/1', 'one', 0],
      ['b/c/d', Buffer.alloc(100_000, 'x'), 1],
      ['a/2', '', 0],
    ]) {
      await connection.publish(topic, payload, { qos })
      const { value } = await reader.next()
      assert.equal(value.topic, topic)
      assert.equal(value.qos, qos)
      assert.ok(value.payload.equals(Buffer.from(payload)))
    }
    await subscription.unsubscribe()
    await connection.disconnect()
  })

  test(`MQTT ${mqttVersion}: without limits a/# matches a, as the broker has it`, { skip }, async () => {
    const connection = await connect({ mqttVersion, limits: 'none' })
    const reader = (await connection.subscribe('parent/#'))[Symbol.asyncIterator]()
    await connection.publish('parent', 'x')
    assert.equal((await reader.next()).value.topic, 'parent')
    await connection.disconnect()
  })

  test(`MQTT ${mqttVersion}: a retained message comes with its mark`, { skip }, async () => {
    const connection = await connect({ mqttVersion })
    const topic = `retained/${mqttVersion}`
    await connection.publish(topic, 'kept', { retain: true })
    const reader = (await connection.subscribe(topic))[Symbol.asyncIterator]()
    const { value } = await reader.next()
    assert.deepEqual(
      { retain: value.retain, payload: value.payload.toString() },
      { retain: true, payload: 'kept' },
    )
    await connection.disconnect()
  })

  test(`MQTT ${mqttVersion}: 20 filters in one subscribe`, { skip }, async () => {
    const connection = await connect({ mqttVersion })
    const filters = Array.from({ length: 20 }, (_, index) => `many/${index}`)
    const subscription = await connection.subscribe(filters)
    assert.equal(subscription.granted.length, 20)
    const reader = subscription[Symbol.asyncIterator]()
    await connection.publish('many/19', 'x')
    assert.equal((await reader.next()).value.topic, 'many/19')
    await connection.disconnect()
  })

  test(
    `MQTT ${mqttVersion}: a kept session delivers what came meanwhile, also before anybody listens`,
    {
      skip,
    },
    async () => {
      const clientId = `kept-${mqttVersion}`
      const kept = { mqttVersion, clientId, cleanSession: false }
      const first = await connect(kept)
      assert.equal(first.sessionPresent, false)
      await first.subscribe('kept/#', {}, () => {})
      await first.disconnect()

      const other = await connect({ mqttVersion })
      for (const payload of ['1', '2', '3']) await other.publish('kept/t', payload)
      await other.disconnect()

      const second = await connect(kept)
      assert.equal(second.sessionPresent, true)
      const reader = (await second.subscribe('kept/#'))[Symbol.asyncIterator]()
      const got = []
      while (got.length < 3) got.push((await reader.next()).value.payload.toString())
      assert.deepEqual(got, ['1', '2', '3'])
      await second.disconnect()

      const cleaning = await connect({ mqttVersion, clientId })
      assert.equal(cleaning.sessionPresent, false)
      await cleaning.disconnect()
    },
  )

  test(`MQTT ${mqttVersion}: a second client with the same id ends the first`, { skip }, async () => {
    const clientId = `twice-${mqttVersion}`
    const first = await connect({ mqttVersion, clientId, reconnect: false })
    const second = await connect({ mqttVersion, clientId })
    const { error } = await first.closed
    // Version 2.0.11 closes without a word, on MQTT 5 too; later ones say why.
    assert.match(error.code, mqttVersion === 5 ? /TAKEN_OVER|CONNECTION_LOST/ : /CONNECTION_LOST/)
    await second.disconnect()
  })

  test(`MQTT ${mqttVersion}: 2,000 publishes at once are all acknowledged`, { skip }, async () => {
    const connection = await connect({ mqttVersion, limits: UNPACED })
    const results = await Promise.all(
      Array.from({ length: 2_000 }, (_, index) => connection.publish('burst', String(index))),
    )
    assert.ok(results.every(({ packetId }) => packetId > 0))
    assert.equal(connection.stats().messagesSent, 2_000)
    await connection.disconnect()
  })

  for (const qos of [0, 1]) {
    test(
      `MQTT ${mqttVersion}, QoS ${qos}: a loop that publishes each of 10,000 messages ends, and none is lost`,
      {
        skip,
      },
      async () => {
        const COUNT = 10_000
        const loop = await connect({ mqttVersion, limits: UNPACED, receive: { maxMessages: 5 } })
        const other = await connect({ mqttVersion, limits: UNPACED })
        const answers = []
        let answered
        const all = new Promise((resolve) => (answered = resolve))
        await other.subscribe('answer', { qos }, ({ payload }) => {
          if (answers.push(Number(payload.toString())) === COUNT) answered()
        })
        const subscription = await loop.subscribe('question', { qos })
        const asking = Promise.all(
          Array.from({ length: COUNT }, (_, index) => other.publish('question', String(index), { qos })),
        )
        let seen = 0
        for await (const { payload } of subscription) {
          await loop.publish('answer', payload, { qos })
          if (++seen === COUNT) break
        }
        await Promise.all([asking, all])
        assert.deepEqual(
          answers,
          Array.from({ length: COUNT }, (_, index) => index),
        )
        assert.equal(loop.stats().dropped + other.stats().dropped, 0)
        await Promise.all([loop.disconnect(), other.disconnect()])
      },
    )
  }
}
