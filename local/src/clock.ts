import { setImmediate, setTimeout } from 'node:timers/promises'

/** Where time comes from. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number
  setTimeout(callback: () => void, ms: number): ClockTimer
  /** Tells a clock that can jump of work which takes real time, and how long it may take. */
  waitFor?(work: Promise<unknown>, limitMs: number): void
}

export interface ClockTimer {
  cancel(): void
}

/** A clock that stands still until a test moves it. */
export interface ManualClock extends Clock {
  /**
   * Lets `ms` pass: fires the timers that fall due, in order, and lets promises settle after each of them. The clock
   * stands still for a handler that is called meanwhile, and none is cut off by a jump: each has its time limit
   * (`limits.handlerTimeoutMs`) in real time as well.
   */
  advance(ms: number): Promise<void>
}

/** The machine's own time. Its timers keep no process alive. */
export const systemClock: Clock = {
  now: () => Date.now(),
  setTimeout: (callback, ms) => {
    const timer = globalThis.setTimeout(callback, ms)
    timer.unref()
    return { cancel: () => clearTimeout(timer) }
  },
}

/** Starts at this moment unless told otherwise: a handler that looks at its own clock agrees with it at first. */
export function createManualClock(startMs: number = Date.now()): ManualClock {
  let now = startMs
  // In the order they were set, which decides between timers that are due together.
  const timers = new Set<PendingTimer>()
  const running = new Set<Work>()
  let advancing = 0

  const nextDue = (until: number): PendingTimer | undefined => {
    let first: PendingTimer | undefined
    for (const timer of timers) {
      if (timer.dueAt <= until && (first === undefined || timer.dueAt < first.dueAt)) first = timer
    }
    return first
  }
  /** Work that has to end before the clock may show `time`. */
  const inTheWay = (time: number): Work[] =>
    [...running].filter(({ setOff, dueAt, mayRunUntil }) => {
      return (setOff || dueAt <= time) && performance.now() < mayRunUntil
    })
  const advanceTo = async (until: number): Promise<void> => {
    for (;;) {
      await setImmediate()
      const timer = nextDue(until)
      const work = inTheWay(timer?.dueAt ?? until)
      if (work.length > 0) {
        await Promise.all(work.map(endOrLimit))
      } else if (timer === undefined) {
        break
      } else {
        timers.delete(timer)
        now = Math.max(now, timer.dueAt)
        timer.callback()
      }
    }
    now = Math.max(now, until)
  }
  return {
    now: () => now,
    setTimeout: (callback, ms) => {
      const timer: PendingTimer = { dueAt: now + Math.max(0, ms), callback }
      timers.add(timer)
      return { cancel: () => void timers.delete(timer) }
    },
    waitFor: (promise, limitMs) => {
      const work: Work = {
        ended: promise.then(
          () => void running.delete(work),
          () => void running.delete(work),
        ),
        setOff: advancing > 0,
        dueAt: now + limitMs,
        mayRunUntil: performance.now() + limitMs,
      }
      running.add(work)
    },
    advance: async (ms) => {
      if (!(ms >= 0)) throw new TypeError(`a clock goes forward, by 0 ms or more: advance(${ms})`)
      advancing++
      await advanceTo(now + ms).finally(() => advancing--)
    },
  }
}

interface PendingTimer {
  dueAt: number
  callback: () => void
}

interface Work {
  ended: Promise<void>
  /** It began while the clock was moved, so most likely because of that. */
  setOff: boolean
  /** On this clock. */
  dueAt: number
  /** In real time, by `performance.now()`. */
  mayRunUntil: number
}

async function endOrLimit({ ended, mayRunUntil }: Work): Promise<void> {
  const limit = new AbortController()
  const { signal } = limit
  // Not a moment too early, or it would be waited for once more.
  const leftMs = Math.max(0, Math.ceil(mayRunUntil - performance.now()))
  await Promise.race([ended, setTimeout(leftMs, undefined, { signal })])
  limit.abort()
}
