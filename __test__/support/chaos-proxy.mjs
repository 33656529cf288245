import { once } from 'node:events'
import { connect, createServer } from 'node:net'

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function randomNumbers(seed) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let value = Math.imul(state ^ (state >>> 15), 1 | state)
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * Passes bytes on to a port of this machine, and fails as networks do.
 *
 * `fate()` is asked at the beginning of each connection, and again when a stall is over: `{ after, what }` says what
 * happens once so many more bytes have passed. `cut` ends both sides at once, `stall` passes nothing on for some
 * milliseconds, `blackhole` never again; nothing happens where it gives nothing.
 */
export async function startProxy(port, fate = () => undefined) {
  const ends = new Set()
  const counts = { connections: 0, cut: 0, stall: 0, blackhole: 0 }
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1')
    const both = [client, upstream]
    const end = () => both.forEach((socket) => socket.destroy())
    ends.add(end)
    for (const socket of both) {
      socket.setNoDelay(true)
      socket.on('error', () => {})
      socket.once('close', () => {
        ends.delete(end)
        end()
      })
    }
    counts.connections++
    let doom = fate()
    let passed = 0
    let lost = false
    const pass = (bytes, to) => {
      if (!lost) to.write(bytes)
      passed += bytes.length
      if (doom === undefined || passed < doom.after) return
      const { what, ms } = doom
      counts[what]++
      doom = undefined
      if (what === 'cut') end()
      if (what === 'blackhole') lost = true
      if (what === 'stall') {
        both.forEach((socket) => socket.pause())
        setTimeout(() => {
          both.forEach((socket) => socket.resume())
          passed = 0
          doom = fate()
        }, ms)
      }
    }
    client.on('data', (bytes) => pass(bytes, upstream))
    upstream.on('data', (bytes) => pass(bytes, client))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: server.address().port,
    counts,
    /** Ends every connection there is. */
    cut() {
      ends.forEach((end) => end())
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      this.cut()
      await closed
    },
  }
}
