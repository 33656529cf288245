import { systemClock, type Clock } from '../clock'
import type { ConnectionHandle } from './connection-handle'
import type { FaultApplied, Journal, NewEvent } from '../events'
import type { FaultStream } from './fault-stream'
import { fitsFilter } from './fault-topics'
import { planFault, type Fault, type FaultDirection, type FaultPlan, type PacketKind } from './fault'

/** The faults of an endpoint; they may come and go at any time. */
export interface Faults {
  /** Throws a TypeError that says what is wrong with `fault`. */
  add(fault: Fault): FaultHandle
  /** Removes all of them. What they have delayed or held back still goes its way. */
  clear(): void
}

export interface FaultHandle {
  /** How often it was applied. */
  readonly hits: number
  /** The next time it is applied; rejected once that cannot happen any more. */
  hit(): Promise<FaultApplied>
  remove(): void
}

/** What a fault looks at. */
export interface Passing {
  kind: PacketKind
  direction: FaultDirection
  clientId: string | undefined
  /** Of PUBLISH the topic, of SUBSCRIBE and UNSUBSCRIBE the filters. */
  topics: readonly string[]
  /** Faults that this connection has already, and that are not applied twice. */
  lasting: ReadonlySet<ActiveFault>
}

/** Behind `LocalEndpoint.faults` and `LocalEndpoint.connections`. */
export class FaultRegistry implements Faults {
  readonly clock: Clock
  readonly #journal: Journal
  readonly #active = new Set<ActiveFault>()
  readonly #connections = new Set<FaultStream>()

  constructor(journal: Journal, faults: readonly Fault[] = [], clock: Clock = systemClock) {
    if (!Array.isArray(faults)) throw new TypeError('faults must be a list of faults')
    this.#journal = journal
    this.clock = clock
    for (const [index, fault] of faults.entries()) this.#activate(planFault(fault, `faults[${index}]`))
  }

  add(fault: Fault): FaultHandle {
    const active = this.#activate(planFault(fault))
    return {
      get hits() {
        return active.hits
      },
      hit: () => active.next(),
      remove: () => this.#remove(active),
    }
  }

  clear(): void {
    for (const active of this.#active) this.#remove(active)
  }

  get connections(): ConnectionHandle[] {
    return [...this.#connections].filter(({ gone }) => !gone).map(({ handle }) => handle)
  }

  enter(connection: FaultStream): void {
    this.#connections.add(connection)
  }

  leave(connection: FaultStream): void {
    this.#connections.delete(connection)
  }

  close(): void {
    this.clear()
    for (const connection of this.#connections) connection.giveUp()
  }

  /** The fault that this packet suffers: its skipping and its times are counted here. */
  find(passing: Passing): ActiveFault | undefined {
    for (const active of this.#active) if (active.takes(passing)) return active
    return undefined
  }

  record(event: NewEvent<FaultApplied>, active?: ActiveFault): void {
    this.#journal.record(event)
    active?.settle({ time: this.clock.now(), ...event })
  }

  #activate(plan: FaultPlan): ActiveFault {
    const active = new ActiveFault(plan)
    this.#active.add(active)
    return active
  }

  #remove(active: ActiveFault): void {
    this.#active.delete(active)
    active.remove()
  }
}

/** A fault with what it has done so far. */
export class ActiveFault {
  hits = 0
  removed = false
  #seen = 0
  #over: string | undefined
  #waiting: { resolve(applied: FaultApplied): void; reject(error: Error): void }[] = []

  constructor(readonly plan: FaultPlan) {}

  takes({ kind, direction, clientId, topics, lasting }: Passing): boolean {
    const { on, directions, clientId: wanted, topic, skip, times } = this.plan
    if (this.hits >= times || (on !== 'any' && on !== kind) || !directions.includes(direction)) return false
    if (lasting.has(this)) return false
    if (typeof wanted === 'string' && wanted !== clientId) return false
    if (wanted instanceof RegExp && !(clientId !== undefined && wanted.test(clientId))) return false
    if (topic !== undefined && !topics.some((text) => fitsFilter(topic, text))) return false
    if (this.#seen++ < skip) return false
    this.hits++
    return true
  }

  next(): Promise<FaultApplied> {
    const hit = new Promise<FaultApplied>((resolve, reject) => {
      if (this.#over === undefined) this.#waiting.push({ resolve, reject })
      else reject(this.#nevermore(this.#over))
    })
    // Whoever does not look at it must not be told by a crash.
    hit.catch(() => undefined)
    return hit
  }

  settle(applied: FaultApplied): void {
    for (const { resolve } of this.#waiting.splice(0)) resolve(applied)
    if (this.hits >= this.plan.times) this.#end('its times are used up')
  }

  remove(): void {
    this.removed = true
    this.#end('the fault was removed')
  }

  #end(reason: string): void {
    if (this.#over !== undefined) return
    this.#over = reason
    for (const { reject } of this.#waiting.splice(0)) reject(this.#nevermore(reason))
  }

  #nevermore(reason: string): Error {
    const { on, action } = this.plan
    return new Error(`the fault "${action}" on ${on} is not applied again: ${reason} (hits: ${this.hits})`)
  }
}
