import type { Clock, ClockTimer } from '../clock'
import type { PacketKind } from './fault'

/** Something that happens in its turn: mostly a packet that goes on. */
export interface Passenger {
  /** Undefined for what is no packet that goes by, and so ends nobody's waiting. */
  kind?: PacketKind
  bytes: number
  go(): void
}

interface Waiting extends Passenger {
  dueAt: number
  holdUntil: 'until-next' | PacketKind | undefined
}

/** What an entry costs beside its packet; a guess that keeps counts bounded. */
const OVERHEAD_BYTES = 256

/** One direction of one connection: keeps the order through delays, and changes it where a packet is held back. */
export class FaultLane {
  readonly #clock: Clock
  readonly #onLater: () => void
  #queue: Waiting[] = []
  #heldBack: Waiting[] = []
  #bytes = 0
  #timer: ClockTimer | undefined
  #stopped = false
  #moving = false

  /** `onLater` is called after something went that had to wait for the clock. */
  constructor(clock: Clock, onLater: () => void) {
    this.#clock = clock
    this.#onLater = onLater
  }

  /** What waits here. */
  get bytes(): number {
    return this.#bytes
  }

  push(passenger: Passenger, delayMs = 0, holdUntil?: Waiting['holdUntil']): void {
    const idle = this.#queue.length === 0 && this.#heldBack.length === 0 && !this.#stopped && !this.#moving
    if (idle && delayMs === 0 && holdUntil === undefined) return passenger.go()
    this.#bytes += passenger.bytes + OVERHEAD_BYTES
    this.#queue.push({ ...passenger, dueAt: delayMs === 0 ? 0 : this.#clock.now() + delayMs, holdUntil })
    this.#move()
  }

  /** Nothing goes until `start`. */
  stop(): void {
    this.#stopped = true
  }

  start(): void {
    this.#stopped = false
    this.#move()
  }

  /** What waits will never go. */
  clear(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#queue = []
    this.#heldBack = []
    this.#bytes = 0
  }

  #move(): void {
    // A packet's handling may call start(), which must not start a second loop.
    if (this.#moving || this.#timer !== undefined) return
    this.#moving = true
    try {
      while (!this.#stopped && this.#queue.length > 0) {
        const head = this.#queue[0]!
        const waitMs = head.dueAt === 0 ? 0 : head.dueAt - this.#clock.now()
        if (waitMs > 0) return this.#wait(head, waitMs)
        this.#queue.shift()
        if (head.holdUntil === undefined) this.#go(head)
        else this.#heldBack.push(head)
      }
    } finally {
      this.#moving = false
    }
  }

  #wait(head: Waiting, ms: number): void {
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = undefined
      head.dueAt = 0 // whatever the clock says: timers may be early by a fraction
      this.#move()
      this.#onLater()
    }, ms)
  }

  #go(passenger: Waiting): void {
    this.#leave(passenger)
    const { kind } = passenger
    if (kind === undefined) return
    const released = this.#heldBack.filter((w) => w.holdUntil === 'until-next' || w.holdUntil === kind)
    if (released.length === 0) return
    this.#heldBack = this.#heldBack.filter((waiting) => !released.includes(waiting))
    for (const waiting of released) this.#leave(waiting)
  }

  #leave({ bytes, go }: Waiting): void {
    this.#bytes = Math.max(0, this.#bytes - bytes - OVERHEAD_BYTES)
    go()
  }
}
