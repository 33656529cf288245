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
  /** Called with JSON files that the module has imported. */
  onJson: (files: string[]) => void
  onExit: (worker: ModuleWorker) => void
}

interface Pending {
  call: HandlerCall
  /** The module has it; until then it waits for the module to load. */
  running: boolean
  resolve: (answer: unknown) => void
  reject: (error: Error) => void
}

/** What Lambda gives a function to initialize. */
const LOAD_TIMEOUT_MS = 10_000
/** One that needs more is ended; without a limit of its own it would take the process with it. */
const MAX_HEAP_MB = 512

/** One thread with one copy of the module, as one execution environment of Lambda. It begins to load at once. */
export class ModuleWorker {
  /** No further call goes here. */
  retired = false
  /** Why the module did not load, which is also what its calls reject with. The thread is ended then. */
  loadError: Error | undefined
  readonly loaded: Promise<void>
  readonly exited: Promise<void>
  readonly #options: ModuleWorkerOptions
  readonly #worker: Worker
  readonly #pending = new Map<number, Pending>()
  #loading: Loading | undefined
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
    this.#worker.on('message', (message: WorkerMessage) => this.#onMessage(message))
    this.#worker.on('error', (error: unknown) => (this.#exitReason = asUncaught(error)))
    this.exited = new Promise((resolve) => {
      this.#worker.on('exit', (code) => {
        this.#onExit(code)
        resolve()
      })
    })
    this.loaded = new Promise((resolve, reject) => {
      const seconds = LOAD_TIMEOUT_MS / 1000
      const timer = setTimeout(() => {
        this.#failLoad(new HandlerFault('handler-not-loaded', `it did not load within ${seconds} s`))
      }, LOAD_TIMEOUT_MS)
      this.#loading = { timer, resolve, reject }
    })
    // Its calls reject with it, too.
    this.loaded.catch(() => undefined)
  }

  get isLoaded(): boolean {
    return this.#loading === undefined && this.loadError === undefined
  }

  /** Those that wait for the module to load are counted. */
  get calls(): number {
    return this.#pending.size
  }

  invoke(event: AuthorizerEvent, call: HandlerCall): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const id = this.#nextId++
      this.#pending.set(id, { call, running: false, resolve, reject })
      call.signal.addEventListener('abort', () => this.#onTimeout(id), { once: true })
      // One that does not load has rejected its calls itself.
      void this.loaded.then(
        () => this.#run(id, event),
        () => undefined,
      )
    })
  }

  /** Ends the thread when the last call is answered or out of time. */
  retire(): void {
    this.retired = true
    if (this.#pending.size === 0) void this.end()
  }

  async end(reason: Error = new HandlerFault('handler-closed', 'the endpoint closes')): Promise<void> {
    this.retired = true
    this.#exitReason ??= reason
    await this.#worker.terminate()
    await this.exited
  }

  #run(id: number, event: AuthorizerEvent): void {
    const pending = this.#pending.get(id)
    if (pending === undefined) return
    pending.running = true
    const { context, remainingMs } = pending.call
    const message: WorkerCall = { id, event, context, remainingMs: remainingMs() }
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    this.#worker.postMessage(message)
  }

  #onMessage(message: WorkerMessage): void {
    switch (message.type) {
      case 'loaded':
        return this.#endLoad()?.resolve()
      case 'load-failed':
        return this.#failLoad(revive(message.error))
      case 'json':
        return this.#options.onJson(message.files)
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

  #endLoad(): Loading | undefined {
    const loading = this.#loading
    this.#loading = undefined
    clearTimeout(loading?.timer)
    return loading
  }

  #failLoad(error: Error): void {
    const loading = this.#endLoad()
    if (loading === undefined) return
    this.loadError = error
    loading.reject(error)
    this.#rejectAll(error)
    void this.end(error)
  }

  /** As in Lambda, the environment of a call that timed out is not used again. */
  #onTimeout(id: number): void {
    const pending = this.#pending.get(id)
    if (pending === undefined) return
    if (pending.running) this.retired = true
    this.#settle(id, ({ reject }) => reject(new Error('timed out')))
  }

  #settle(id: number, outcome: (pending: Pending) => void): void {
    const pending = this.#pending.get(id)
    if (pending === undefined) return
    this.#pending.delete(id)
    outcome(pending)
    if (this.retired && this.#pending.size === 0) void this.end()
  }

  #rejectAll(reason: Error): void {
    const pending = [...this.#pending.values()]
    this.#pending.clear()
    for (const { reject } of pending) reject(reason)
  }

  #onExit(code: number): void {
    this.retired = true
    const reason = this.#exitReason ?? exited(code)
    this.#failLoad(reason)
    this.#rejectAll(reason)
    this.#options.onExit(this)
  }
}

interface Loading {
  timer: NodeJS.Timeout
  resolve: () => void
  reject: (error: Error) => void
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
