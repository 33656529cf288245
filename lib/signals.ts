import { setMaxListeners } from 'node:events'

/** Calls `abort` once the signal is aborted. Any number of operations may share one signal, without a warning. */
export function onAbort(signal: AbortSignal, abort: () => void): void {
  setMaxListeners(0, signal)
  signal.addEventListener('abort', abort, { once: true })
}
