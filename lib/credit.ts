import type { NativeConnection } from './native.js'

export interface Sender {
  readonly native: NativeConnection
  /** Sends what was gathered with everything else of this turn of the event loop. */
  flushSoon(): void
}

/** Gives credit back for consumed messages, in ranges and not one by one. */
export class Credit {
  readonly #native: NativeConnection
  readonly #sender: Sender
  /** So much goes back at once at the latest. */
  readonly #most: number
  #from = 0
  #count = 0
  #later = false
  /** A message is being handed out. */
  delivering = false

  constructor(sender: Sender, most: number) {
    this.#native = sender.native
    this.#sender = sender
    this.#most = most
  }

  /** One message is consumed. */
  consumed(number: number): void {
    if (this.#count > 0 && number !== (this.#from + this.#count) >>> 0) this.hand()
    if (this.#count++ === 0) this.#from = number
    // What handlers consume in one drain goes back together; a loop consumes one message in each microtask.
    if (this.delivering) this.#sender.flushSoon()
    else if (this.#count >= this.#most) this.#flush()
    else this.#flushLater()
  }

  /** Hands what was gathered to the addon, which sends it with its next flush. */
  hand(): void {
    if (this.#count === 0) return
    this.#native.consumed(this.#from, this.#count)
    this.#count = 0
  }

  /** Once all microtasks have run: whoever reads in a loop has read what there is. */
  #flushLater(): void {
    if (this.#later) return
    this.#later = true
    setImmediate(() => {
      this.#later = false
      this.#flush()
    })
  }

  #flush(): void {
    this.hand()
    this.#native.flush()
  }
}
