import type { Writable } from 'node:stream'

const MAX_WAITING_BYTES = 64 * 1024 * 1024

/** Where entries are written to. Of those that a slow reader would let pile up in memory some are left out. */
export class Output {
  readonly #stream: Writable
  readonly #describeGap: (count: number) => string
  #leftOut = 0

  /** `describeGap` says, in place of them, how many entries were left out. */
  constructor(stream: Writable, describeGap: (count: number) => string) {
    this.#stream = stream
    this.#describeGap = describeGap
  }

  write(entry: string): void {
    if (this.#stream.writableLength > MAX_WAITING_BYTES) {
      this.#leftOut++
      return
    }
    if (this.#leftOut > 0) this.#stream.write(this.#describeGap(this.#leftOut))
    this.#leftOut = 0
    this.#stream.write(entry)
  }
}
