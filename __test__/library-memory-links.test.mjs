import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { startProxy } from './support/chaos-proxy.mjs'
import { skip, startMosquitto } from './support/mosquitto.mjs'
import { runScript } from './support/script.mjs'

const MIB = 1024 * 1024

let broker
let proxy
before(async () => {
  if (skip) return
  broker = await startMosquitto()
  // Room for a handshake and some dozens of messages.
  proxy = await startProxy(broker.port, () => ({ what: 'cut', after: 12_000 }))
})
after(async () => {
  await proxy?.close()
  await broker?.close()
})

for (const mqttVersion of [3, 5]) {
  test(
    `MQTT ${mqttVersion}: 500 reconnects, and all that is sent meanwhile, leave nothing behind`,
    {
      skip,
    },
    async () => {
      const { exited } = runScript(
        `const settle = async () => {
         for (let round = 0; round < 5; round++) {
           gc()
           await new Promise((resolve) => setImmediate(resolve))
         }
         const { heapUsed, external, rss } = process.memoryUsage()
         return { heap: heapUsed + external, rss }
       }
       const connection = await connectWithCustomAuthorizer({
         ...input,
         limits: 'none',
         initialConnect: 'retry',
         reconnect: { minDelayMs: 1, maxDelayMs: 4, spreadMs: 0 },
         credentials: async () => ({ username: 'device', password: 'secret' }),
         queue: { qos0: 'queue' },
       })
       let resumed = 0
       let published = 0
       connection.on('resume', () => resumed++)
       await connection.subscribe(['r/1', 'r/+'], {}, () => {})
       const until = async (count) => {
         for (const goal = resumed + count; resumed < goal; published += 60) {
           await Promise.all(Array.from({ length: 60 }, () => connection.publish('r/1', 'payload')))
         }
       }
       await until(100)
       const before = await settle()
       published = 0
       await until(500)
       const after = await settle()
       console.log(JSON.stringify({ heap: after.heap - before.heap, rss: after.rss - before.rss, published }))
       await connection.disconnect({ force: true })`,
        { ...broker.where, port: proxy.port, mqttVersion },
        ['--expose-gc'],
      )
      const { code, stdout, stderr } = await exited
      assert.equal(code, 0, stderr)
      const { heap, rss, published } = JSON.parse(stdout)
      // One object a message, of 50 bytes at the least, would be more than this.
      assert.ok(published > 20_000, `${published} messages`)
      assert.ok(heap < MIB, `the heap has grown by ${heap} bytes`)
      assert.ok(rss < 30 * MIB, `the process has grown by ${rss} bytes`)
    },
  )
}
