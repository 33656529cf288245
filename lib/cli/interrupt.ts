import { onBrokenPipe } from './output.js'

/** Why the signal of an {@link Interrupt} was aborted. */
export class Interrupted extends Error {
  constructor(
    readonly by: 'SIGINT' | 'SIGTERM' | 'SIGPIPE',
    readonly exitCode: number,
  ) {
    super(`Interrupted by ${by}.`)
  }
}

export interface Interrupt {
  /** Aborted, with an {@link Interrupted}, when the run has to end early. */
  readonly signal: AbortSignal
  release(): void
}

/**
 * Watches for what ends a run early: Ctrl-C, SIGTERM, and a reader of standard output that went away.
 * The first lets the run end in order; a second signal ends the process at once.
 */
export function watchInterrupts(): Interrupt {
  const controller = new AbortController()
  let asked = false
  const onSignal = (name: NodeJS.Signals) => {
    const why = name === 'SIGTERM' ? new Interrupted('SIGTERM', 143) : new Interrupted('SIGINT', 130)
    if (asked) process.exit(why.exitCode)
    asked = true
    controller.abort(why)
  }

  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  onBrokenPipe(() => controller.abort(new Interrupted('SIGPIPE', 141)))
  return {
    signal: controller.signal,
    release() {
      process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
      onBrokenPipe(undefined)
    },
  }
}
