import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { AuthorizerEvent } from '../authorizer/authorizer-event'
import { HandlerError, HandlerFault, type HandlerCall } from './handler'
import type { WorkerCall, WorkerError, WorkerMessage, WorkerSettings } from './handler-worker'

export interface ModuleWorkerOptions {
  /** file: URL */
  module: string
  env: NodeJS.ProcessEnv
  /** What the module prints outside of any call. */
  log: HandlerCall['log']
  onExit: (worker: ModuleWorker) => void
}

interface Pending {
  call: HandlerCall
  resolve: (answer: unknown) => void
  reject: (error: Error) => void
}

/** What Lambda gives a function to initialize. */
const LOAD_TIMEOUT_MS = 10_000
/** One that needs more is ended; without a limit of its own it would take the process with it. */
const MAX_HEAP_MB = 512

/** One thread with one copy of the module, as one execution environment of Lambda. */
export class ModuleWorker {
  /** No further call goes here. */
  retired = false
  readonly #options: ModuleWorkerOptions
  readonly #worker: Worker
  readonly #pending = new Map<number, Pending>()
  readonly #exited: Promise<void>
  #nextId = 0
  #exitReason: Error | undefined

  constructor(options: ModuleWorkerOptions) {
    this.#options = options
    const settings: WorkerSettings = { module: options.module }
    this.#worker = new Worker(join(__dirname, 'handler-worker.js'), {
      workerData: settings,
      env: options.env,
      resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB },
    })
    this.#worker.on('error', (error: unknown) => (this.#exitReason = asUncaught(error)))
    this.#exited = new Promise((resolve) => {
      this.#worker.on('exit', (code) => {
        this.#onExit(code)
        resolve()
      })
    })
  }

  get calls(): number {
    return this.#pending.size
  }

  /** Resolves once the module is loaded; otherwise the thread is ended. */
  async load(): Promise<void> {
    try {
      await this.#load()
      this.#worker.on('message', (message: WorkerMessage) => this.#onMessage(message))
    } catch (error) {
      await this.end()
      throw error
    }
  }

  invoke(event: AuthorizerEvent, call: HandlerCall): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const id = this.#nextId++
      this.#pending.set(id, { call, resolve, reject })
      call.signal.addEventListener('abort', () => this.#onTimeout(id), { once: true })
      const message: WorkerCall = { id, event, context: call.context, remainingMs: call.remainingMs() }
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
      this.#worker.postMessage(message)
    })
  }

  /** Ends the thread when the last call is answered or out of time. */
  retire(): void {
    this.retired = true
    if (this.#pending.size === 0) void this.end()
  }

  async end(reason = new HandlerFault('handler-closed', 'the endpoint closes')): Promise<void> {
    this.retired = true
    this.#exitReason ??= reason
    await this.#worker.terminate()
    await this.#exited
  }

  #load(): Promise<void> {
    return new Promise((resolve, reject) => {
      const worker = this.#worker
      const onExit = (code: number): void => settle(() => reject(this.#exitReason ?? exited(code)))
      const onMessage = (message: WorkerMessage): void => {
        if (message.type === 'output') this.#options.log(message.stream, message.text)
        else if (message.type === 'loaded') settle(resolve)
        else if (message.type === 'load-failed') settle(() => reject(revive(message.error)))
      }
      const seconds = LOAD_TIMEOUT_MS / 1000
      const timer = setTimeout(() => {
        settle(() => reject(new HandlerFault('handler-not-loaded', `it did not load within ${seconds} s`)))
      }, LOAD_TIMEOUT_MS)
      const settle = (outcome: () => void): void => {
        clearTimeout(timer)
        worker.off('exit', onExit)
        worker.off('message', onMessage)
        outcome()
      }
      worker.on('exit', onExit)
      worker.on('message', onMessage)
    })
  }

  #onMessage(message: WorkerMessage): void {
    switch (message.type) {
      case 'answer':
        return this.#settle(message.id, ({ resolve }) => resolve(JSON.parse(message.json)))
      case 'failed':
        return this.#settle(message.id, ({ reject }) => reject(revive(message.error)))
      case 'output': {
        const pending = message.id === undefined ? undefined : this.#pending.get(message.id)
        return (pending?.call.log ?? this.#options.log)(message.stream, message.text)
      }
    }
  }

  /** As in Lambda, the environment of a call that timed out is not used again. */
  #onTimeout(id: number): void {
    if (!this.#pending.has(id)) return
    this.retired = true
    this.#settle(id, ({ reject }) => reject(new Error('timed out')))
  }

  #settle(id: number, outcome: (pending: Pending) => void): void {
    const pending = this.#pending.get(id)
    if (pending === undefined) return
    this.#pending.delete(id)
    outcome(pending)
    if (this.retired && this.#pending.size === 0) void this.end()
  }

  #onExit(code: number): void {
    this.retired = true
    const reason = this.#exitReason ?? exited(code)
    const pending = [...this.#pending.values()]
    this.#pending.clear()
    for (const { reject } of pending) reject(reason)
    this.#options.onExit(this)
  }
}

function exited(code: number): HandlerFault {
  return new HandlerFault(
    'handler-exited',
    `the handler ended its own thread, as process.exit(${code}) does, instead of answering`,
  )
}

/** What no promise and no `try` caught in the thread. */
function asUncaught(thrown: unknown): Error {
  if ((thrown as NodeJS.ErrnoException | null)?.code === 'ERR_WORKER_OUT_OF_MEMORY') {
    return new HandlerFault('handler-exited', `the handler needs more than ${MAX_HEAP_MB} MB of memory`)
  }
  const { name, message, stack } = thrown instanceof Error ? thrown : new Error(String(thrown))
  return new HandlerError(name, message, stack)
}

function revive({ name, message, stack, rule }: WorkerError): Error {
  return rule === undefined ? new HandlerError(name, message, stack) : new HandlerFault(rule, message)
}
