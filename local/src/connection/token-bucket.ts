import type { Clock } from '../clock'

/** A rate that may be used up to a second ahead: full at first, and filled again as time goes by. */
export class TokenBucket {
  readonly #clock: Clock
  readonly #perSecond: number
  readonly #capacity: number
  #tokens: number
  #filledAt: number

  constructor(clock: Clock, perSecond: number) {
    this.#clock = clock
    this.#perSecond = perSecond
    this.#capacity = Math.max(1, perSecond)
    this.#tokens = this.#capacity
    this.#filledAt = clock.now()
  }

  /** One token, if there is one. */
  take(): boolean {
    if (this.waitMs(1) > 0) return false
    this.#tokens -= 1
    return true
  }

  /** Takes `count` tokens, even those that are yet to come; how long it takes until the debt is paid. */
  borrow(count: number): number {
    this.#fill()
    this.#tokens -= count
    return this.waitMs(0)
  }

  /** Milliseconds until there are `count` tokens. */
  waitMs(count: number): number {
    this.#fill()
    const missing = count - this.#tokens
    return missing <= 0 ? 0 : Math.ceil((missing / this.#perSecond) * 1000)
  }

  #fill(): void {
    const now = this.#clock.now()
    // A clock may be set back; and Infinity times 0 is no number.
    const elapsedMs = Math.max(0, now - this.#filledAt)
    this.#filledAt = now
    if (elapsedMs === 0) return
    this.#tokens = Math.min(this.#capacity, this.#tokens + (elapsedMs / 1000) * this.#perSecond)
  }
}
