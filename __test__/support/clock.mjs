// Time that goes on only when a test says so: for timers and for the clock of the package.
import { mock } from 'node:test'

/** Stops time; gives what lets milliseconds pass. Ends with {@link restart}. */
export function stopTime() {
  let uptime = 1_000
  mock.timers.enable({ apis: ['setTimeout'] })
  mock.method(process, 'uptime', () => uptime)
  return (milliseconds) => {
    uptime += milliseconds / 1_000
    mock.timers.tick(milliseconds)
  }
}

export function restart() {
  mock.timers.reset()
  mock.restoreAll()
}
