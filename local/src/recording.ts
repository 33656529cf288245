import type { Limits } from './limits'

/** How far it may grow beyond its limits; trimming in steps keeps appending cheap. */
const SLACK = 1.25

/** What is kept of what happened: about the latest entries that are within two limits, and always the very last. */
export class Recording<T extends object> {
  readonly entries: T[] = []
  readonly #limits: Pick<Limits, 'recordedEntries' | 'recordedBytes'>
  /** Of the entry with the same index. */
  readonly #sizes: number[] = []
  #bytes = 0

  constructor(limits: Pick<Limits, 'recordedEntries' | 'recordedBytes'>) {
    this.#limits = limits
  }

  append(entry: T): void {
    const { recordedEntries } = this.#limits
    if (this.entries.length >= recordedEntries * SLACK) this.#drop(this.entries.length - recordedEntries)
    this.entries.push(entry)
    this.#sizes.push(0)
    this.update(entry)
  }

  /** For an entry that has grown since it was appended. */
  update(entry: T): void {
    const index = this.entries.lastIndexOf(entry)
    if (index < 0) return
    const size = sizeOf(entry)
    this.#bytes += size - this.#sizes[index]!
    this.#sizes[index] = size
    const { recordedBytes } = this.#limits
    if (this.#bytes <= recordedBytes * SLACK) return
    let count = 0
    for (let left = this.#bytes; left > recordedBytes && count < this.entries.length - 1; count++) {
      left -= this.#sizes[count]!
    }
    this.#drop(count)
  }

  #drop(count: number): void {
    this.entries.splice(0, count)
    for (const size of this.#sizes.splice(0, count)) this.#bytes -= size
  }
}

const VALUE_BYTES = 16

/** About what a JSON value, or one with errors in it, takes in memory. */
function sizeOf(entry: object): number {
  let bytes = 0
  // No recursion: a handler's answer may be as deep as it likes.
  const waiting: unknown[] = [entry]
  while (waiting.length > 0) {
    const value = waiting.pop()
    bytes += VALUE_BYTES
    if (typeof value === 'string') bytes += 2 * value.length
    // An error's own members may lead to everything that there is.
    else if (value instanceof Error) waiting.push(value.message, value.stack)
    else if (typeof value === 'object' && value !== null)
      for (const item of Object.values(value)) waiting.push(item)
  }
  return bytes
}
