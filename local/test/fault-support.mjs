import { connectWithCustomAuthorizer } from '../../dist/client.js'
import { ofType } from './support.mjs'

/** The client package of this repository, for which the faults are there in the first place. */
export async function connectOwn(t, endpoint, options = {}) {
  const connection = await connectWithCustomAuthorizer({
    endpoint: endpoint.endpoint,
    port: endpoint.port,
    tls: { caFile: endpoint.caFile },
    limits: 'none',
    reconnect: { minDelayMs: 1, maxDelayMs: 10, spreadMs: 0 },
    ...options,
  })
  t.after(() => connection.disconnect().catch(() => {}))
  return connection
}

/** A clock that stands still until the test moves it on; timers run when their time has come. */
export class StoppedClock {
  #now = 1_000_000
  #timers = new Set()

  now() {
    return this.#now
  }

  setTimeout(callback, ms) {
    const timer = { at: this.#now + ms, callback }
    this.#timers.add(timer)
    return { cancel: () => this.#timers.delete(timer) }
  }

  advance(ms) {
    const end = this.#now + ms
    for (;;) {
      const due = [...this.#timers].filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at)[0]
      if (due === undefined) break
      this.#timers.delete(due)
      this.#now = Math.max(this.#now, due.at)
      due.callback()
    }
    this.#now = end
  }
}

export const faultsOf = (endpoint) =>
  ofType(endpoint, 'fault').map(({ packet, direction, action }) => [packet, direction, action])
