// One client doing one workload, in a process of its own: `node worker.mjs JOB`, the result as JSON on descriptor 3.
import { writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** What ours takes ahead of its consumer where nothing else is said: `receive.maxMessages`. */
const CREDIT = 1_000
/** More messages than any run has time for. */
const ENDLESS = 1e9

const job = JSON.parse(process.argv[2])
const { connector } = await import(`./clients/${job.module}.mjs`)
const connect = connector({
  host: job.host,
  port: job.port,
  ca: job.ca,
  websocket: job.websocket,
  version: job.version,
  credentials: job.credentials,
})
const workloads = { connect: connectInTurn, publish, receive, idle, many, paced: many, slow }

const result = await workloads[job.kind](job.parameters)
// All threads, and everything since the process began; an empty run of the same kind is taken off later.
const { user, system } = process.cpuUsage()
report({ ...result, cpuMicros: user + system })
// Some client may hold the process; the figures are taken.
process.exit(0)

/** One connection after the other; with `hold`, beside one that stays. */
async function connectInTurn({ count, hold }) {
  const micros = []
  const held = hold ? await connect(`${job.id}-held`) : undefined
  for (let index = 0; index < count; index++) {
    const before = performance.now()
    const connection = await connect(`${job.id}-${index}`)
    micros.push((performance.now() - before) * 1_000)
    await connection.disconnect()
  }
  await held?.disconnect()
  return { micros }
}

/** `window` publishes at a time, each followed by the next. */
async function publish({ count, qos, size, window, topic = 'bench/publish' }) {
  const connection = await connect(`${job.id}-0`)
  const payload = Buffer.alloc(size, 'x')
  const before = performance.now()
  await new Promise((resolve, reject) => {
    let begun = 0
    let done = 0
    let busy = false
    const onDone = (error) => {
      if (error) reject(error)
      else if (++done === count) resolve()
      else begin()
    }
    const begin = () => {
      // A client may call back before it returns.
      if (busy) return
      busy = true
      while (begun < count && begun - done < window) {
        begun++
        connection.publish(topic, payload, qos, onDone)
      }
      busy = false
    }
    if (count === 0) resolve()
    else begin()
  })
  // Acknowledged only when all that went before has arrived.
  await new Promise((resolve, reject) => {
    connection.publish('bench/barrier', payload, 1, (error) => (error ? reject(error) : resolve()))
  })
  const wallMs = performance.now() - before
  await connection.disconnect()
  return { wallMs }
}

/** Counts what arrives on a filter. The sink floods by itself; a broker is fed once descriptor 3 says `ready`. */
async function receive({ count, qos, size, iterator, filter }) {
  const connection = await connect(`${job.id}-0`)
  const wallMs = await arrivals(count, size, async (onMessage) => {
    if (iterator) await connection.iterate(filter, qos, onMessage)
    else await connection.subscribe(filter, qos, onMessage)
    report({ ready: true })
  })
  await connection.disconnect()
  return { wallMs }
}

/** Floods some connections at a time, beside others whose consumers have taken all that they may and never end. */
async function slow({ connections: number, stuck, count, qos, size }) {
  const consumers = await Promise.all(
    Array.from({ length: stuck }, (_, index) => stuckConsumer(`${job.id}-stuck-${index}`, qos, size)),
  )
  const connections = []
  await open(connections, number, number)
  const filter = `flood/${qos}/${count / number}/${size}`
  const wallMs = await arrivals(count, size, (onMessage) =>
    Promise.all(connections.map((connection) => connection.subscribe(filter, qos, onMessage))),
  )
  await Promise.all(connections.map((connection) => connection.disconnect()))
  for (const { taken } of consumers) {
    if (taken !== CREDIT) throw new Error(`a stuck consumer took ${taken} messages in place of ${CREDIT}`)
  }
  await Promise.all(consumers.map(({ connection }) => connection.disconnect()))
  return { wallMs }
}

/** A connection that is flooded without end, and whose handler is never done with a message; resolves once it is stuck. */
async function stuckConsumer(clientId, qos, size) {
  const consumer = { connection: await connect(clientId), taken: 0 }
  const never = new Promise(() => {})
  await new Promise((resolve, reject) => {
    const onMessage = () => {
      if (++consumer.taken === CREDIT) resolve()
      return never
    }
    consumer.connection.subscribe(`flood/${qos}/${ENDLESS}/${size}`, qos, onMessage).catch(reject)
  })
  return consumer
}

/** Milliseconds from the first to the last of so many messages, which begin to come when `subscribe` is called. */
async function arrivals(count, size, subscribe) {
  let first = performance.now()
  let received = 0
  let wrong = 0
  if (count > 0) {
    await new Promise((resolve, reject) => {
      const onMessage = (length) => {
        if (received === 0) first = performance.now()
        if (length !== size) wrong++
        if (++received < count) return false
        resolve()
        return true
      }
      subscribe(onMessage).catch(reject)
    })
  }
  const wallMs = performance.now() - first
  if (wrong > 0) throw new Error(`${wrong} messages of another size`)
  // The last acknowledgements may be on their way.
  await new Promise((resolve) => setImmediate(resolve))
  return wallMs
}

/** Many connections, opened some at a time, that do nothing. */
async function idle({ count, atATime }) {
  // What the first connection brings along belongs to the process.
  const connections = [await connect(`${job.id}-first`)]
  const before = await restingMemory()
  const start = performance.now()
  await open(connections, count, atATime)
  const wallMs = performance.now() - start
  const bytes = (await restingMemory()) - before
  await Promise.all(connections.map((connection) => connection.disconnect()))
  return { wallMs, bytes }
}

/** Messages over many connections in turn: as fast as `window` lets them, or evenly over some seconds. */
async function many({ connections: number, atATime, count, qos, size, window = Infinity, seconds }) {
  const connections = []
  await open(connections, number, atATime)
  const payload = Buffer.alloc(size, 'x')
  const start = performance.now()
  if (count > 0) {
    await new Promise((resolve, reject) => {
      let begun = 0
      let done = 0
      const onDone = (error) => {
        if (error) reject(error)
        else if (++done === count) resolve()
        else if (seconds === undefined) begin()
      }
      const begin = (due = count) => {
        while (begun < due && begun - done < window) {
          connections[begun++ % number].publish('bench/publish', payload, qos, onDone)
        }
      }
      if (seconds === undefined) return begin()
      const timer = setInterval(() => {
        const due = Math.floor(((performance.now() - start) * count) / (seconds * 1_000))
        begin(Math.min(count, due))
        if (begun === count) clearInterval(timer)
      }, 5)
    })
  }
  const wallMs = performance.now() - start
  await Promise.all(connections.map((connection) => connection.disconnect()))
  return { wallMs }
}

async function open(connections, count, atATime) {
  let next = 0
  await Promise.all(
    Array.from({ length: atATime }, async () => {
      while (next < count) connections.push(await connect(`${job.id}-${next++}`))
    }),
  )
}

/** V8 gives back the room of its young generation by itself when it is left alone for some seconds, and only then. */
async function restingMemory() {
  globalThis.gc()
  await sleep(10_000)
  return process.memoryUsage.rss()
}

function report(value) {
  writeSync(3, `${JSON.stringify(value)}\n`)
}
