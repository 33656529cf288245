import { setImmediate } from 'node:timers/promises'

/** Where time comes from. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number
  setTimeout(callback: () => void, ms: number): ClockTimer
}

export interface ClockTimer {
  cancel(): void
}

/** A clock that stands still until a test moves it. */
export interface ManualClock extends Clock {
  /** Lets `ms` pass: fires the timers that fall due, in order, and lets promises settle after each of them. */
  advance(ms: number): Promise<void>
}

/** The machine's own time. Its timers keep no process alive. */
export const systemClock: Clock = {
  now: () => Date.now(),
  setTimeout: (callback, ms) => {
    const timer = setTimeout(callback, ms)
    timer.unref()
    return { cancel: () => clearTimeout(timer) }
  },
}

/** Starts at this moment unless told otherwise: a handler that looks at its own clock agrees with it at first. */
export function createManualClock(startMs: number = Date.now()): ManualClock {
  let now = startMs
  // In the order they were set, which decides between timers that are due together.
  const timers = new Set<PendingTimer>()

  const nextDue = (until: number): PendingTimer | undefined => {
    let first: PendingTimer | undefined
    for (const timer of timers) {
      if (timer.dueAt <= until && (first === undefined || timer.dueAt < first.dueAt)) first = timer
    }
    return first
  }
  return {
    now: () => now,
    setTimeout: (callback, ms) => {
      const timer: PendingTimer = { dueAt: now + Math.max(0, ms), callback }
      timers.add(timer)
      return { cancel: () => void timers.delete(timer) }
    },
    advance: async (ms) => {
      if (!(ms >= 0)) throw new TypeError(`a clock goes forward, by 0 ms or more: advance(${ms})`)
      const until = now + ms
      await setImmediate()
      for (let timer = nextDue(until); timer !== undefined; timer = nextDue(until)) {
        timers.delete(timer)
        now = Math.max(now, timer.dueAt)
        timer.callback()
        await setImmediate()
      }
      now = Math.max(now, until)
    },
  }
}

interface PendingTimer {
  dueAt: number
  callback: () => void
}
