import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { skip, startMosquitto } from './support/mosquitto.mjs'
import { runScript } from './support/script.mjs'

let broker
before(async () => {
  if (!skip) broker = await startMosquitto()
})
after(() => broker?.close())

const MIB = 1024 * 1024

/** Runs `round(count)` 20,000 times to warm up, then 100,000 times; gives what the process has grown by. */
async function growth(setUp) {
  const { exited } = runScript(
    `const settle = async () => {
       for (let round = 0; round < 5; round++) {
         gc()
         await new Promise((resolve) => setImmediate(resolve))
       }
       const { heapUsed, external, rss } = process.memoryUsage()
       return { heap: heapUsed + external, rss }
     }
     const connection = await connectWithCustomAuthorizer({ ...input, limits: 'none' })
     const { round } = await (async () => { ${setUp} })()
     await round(20_000)
     const before = await settle()
     await round(100_000)
     const after = await settle()
     console.log(JSON.stringify({ heap: after.heap - before.heap, rss: after.rss - before.rss }))
     await connection.disconnect()`,
    broker.where,
    ['--expose-gc'],
  )
  const { code, stdout, stderr } = await exited
  assert.equal(code, 0, stderr)
  return JSON.parse(stdout)
}

// At 100,000 the smallest leak, a slot of 16 bytes, is 1.6 MB.
const assertBounded = ({ heap, rss }) => {
  assert.ok(heap < MIB, `the heap has grown by ${heap} bytes`)
  assert.ok(rss < 40 * MIB, `the process has grown by ${rss} bytes`)
}

const WINDOW = `
  const inWindow = async (count, one) => {
    for (let done = 0; done < count; done += 500) {
      await Promise.all(Array.from({ length: 500 }, one))
    }
  }`

test('100,000 refused publishes leave nothing behind', { skip }, async () => {
  assertBounded(
    await growth(`${WINDOW}
      return { round: (count) => inWindow(count, () => connection.publish('a/#', 'payload').catch(() => {})) }`),
  )
})

for (const qos of [0, 1]) {
  test(`100,000 publishes at QoS ${qos} leave nothing behind`, { skip }, async () => {
    assertBounded(
      await growth(`${WINDOW}
        return { round: (count) => inWindow(count, () => connection.publish('t', 'payload', { qos: ${qos} })) }`),
    )
  })
}

test('100,000 publishes with one AbortSignal leave nothing behind', { skip }, async () => {
  assertBounded(
    await growth(`${WINDOW}
      const { signal } = new AbortController()
      return { round: (count) => inWindow(count, () => connection.publish('t', 'payload', { qos: 0, signal })) }`),
  )
})

test('100,000 messages received by a handler and by a loop leave nothing behind', { skip }, async () => {
  assertBounded(
    await growth(`
      let handled = 0
      await connection.subscribe('t', {}, async () => { handled++ })
      const reader = (await connection.subscribe('t'))[Symbol.asyncIterator]()
      return {
        round: async (count) => {
          for (let done = 0; done < count; done += 500) {
            const sent = Promise.all(Array.from({ length: 500 }, (_, index) =>
              connection.publish('t', 'x'.repeat(index % 50 === 0 ? 5_000 : 50), { qos: 1 })))
            for (let read = 0; read < 500; read++) await reader.next()
            await sent
          }
        },
      }`),
  )
})

test('1,000 subscriptions that come and go leave nothing behind', { skip }, async () => {
  const { heap } = await growth(`
    return {
      round: async (count) => {
        for (let done = 0; done < count / 100; done += 50) {
          const subscriptions = await Promise.all(Array.from({ length: 50 }, (_, index) =>
            connection.subscribe(['s/' + index + '/+', 's/' + index], {}, () => {})))
          await Promise.all(subscriptions.map((subscription) => subscription.unsubscribe()))
        }
      },
    }`)
  assert.ok(heap < MIB, `the heap has grown by ${heap} bytes`)
})
