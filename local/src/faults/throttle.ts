import type { Clock, ClockTimer } from '../clock'

/** Something that moves some bytes now: at most so many; returns how many it moved. */
export type Mover = (atMost: number) => number

const SLICES_PER_SECOND = 20

/** Moves so many bytes a second, in slices; rests when there is nothing to move, until `wake`. */
export class Throttle {
  readonly #clock: Clock
  readonly #bytesPerSecond: number
  readonly #move: Mover
  #timer: ClockTimer | undefined

  constructor(clock: Clock, bytesPerSecond: number, move: Mover) {
    this.#clock = clock
    this.#bytesPerSecond = bytesPerSecond
    this.#move = move
  }

  /** Nothing may move before its time has come. */
  get resting(): boolean {
    return this.#timer !== undefined
  }

  /** There is something to move, or there may be. */
  wake(): void {
    if (this.#timer !== undefined) return
    const moved = this.#move(Math.max(1, Math.ceil(this.#bytesPerSecond / SLICES_PER_SECOND)))
    if (moved > 0) this.rest(moved)
  }

  /** So many bytes went: the next ones have to wait for their time. */
  rest(bytes: number): void {
    this.#timer?.cancel()
    const ms = Math.min(Math.max(1, Math.ceil((bytes / this.#bytesPerSecond) * 1000)), 2 ** 31 - 1)
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = undefined
      this.wake()
    }, ms)
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }
}
