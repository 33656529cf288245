import { existsSync, realpathSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { AuthorizerEvent } from '../authorizer/authorizer-event'
import { HandlerFault, type Handler, type HandlerCall, type HandlerOutput } from './handler'
import type { FunctionIdentity } from './lambda-context'
import { locateSyntaxError } from './module-syntax'
import { ModuleWatch } from './module-watch'
import { ModuleWorker } from './module-worker'

export interface ModuleHandlerOptions extends FunctionIdentity {
  /** A path, absolute or seen from the working directory, or a file: URL. */
  module: string
  /** What the module prints outside of any call. */
  log: HandlerOutput
  onReload: (files: string[]) => void
  onWarning: (message: string, stack?: string) => void
}

/** Calls at the same time run in threads of their own, up to this many; beyond it they share. */
const MAX_WORKERS = 8

/**
 * A handler in a file. It runs in threads that are replaced when the file, or code beside or below it, changes. The
 * same thread is used again as long as it is free, so what the module keeps in its variables stays there, as in a warm
 * Lambda function.
 */
export class ModuleHandler implements Handler {
  readonly path: string
  readonly #options: ModuleHandlerOptions
  #watch: ModuleWatch | undefined
  #workers: ModuleWorker[] = []
  /** Threads that were begun and are not loaded yet. */
  #loading = new Set<ModuleWorker>()
  /** Why the files as they are now do not load; the threads with the older code go on. */
  #broken: Error | undefined
  #reloading: Promise<void> | undefined
  #changed: string[] = []
  #closed = false

  constructor(options: ModuleHandlerOptions) {
    this.#options = options
    const { module } = options
    this.path = module.startsWith('file:') ? fileURLToPath(module) : resolve(module)
  }

  async start(): Promise<void> {
    if (!existsSync(this.path)) throw this.#loadError('there is no such file')
    if (!statSync(this.path).isFile()) throw this.#loadError('it is not a file')
    this.#watch = new ModuleWatch({
      // Of the file itself where the path is a link: that is where its imports are looked for.
      directory: dirname(realpathSync(this.path)),
      onChange: (files) => this.#onChange(files),
      onProblem: (message) => this.#options.onWarning(`${this.#where}: ${message}`),
    })
    await this.#watch.start()
    try {
      this.#workers.push(await this.#spawn())
    } catch (error) {
      throw this.#loadError(await explain(error as Error, [this.path]), error as Error)
    }
  }

  async invoke(event: AuthorizerEvent, call: HandlerCall): Promise<unknown> {
    if (this.#closed) throw new HandlerFault('handler-closed', 'the endpoint is closed')
    // Chosen without a pause, or the next call would take the same thread for free.
    const worker = this.#chooseWorker() ?? (await this.#addWorker())
    // The time may have passed while a thread was started.
    return call.signal.aborted ? undefined : worker.invoke(event, call)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#watch?.close()
    await Promise.all([...this.#workers, ...this.#loading].map((worker) => worker.end()))
    await this.#reloading
  }

  /** One that is free, or the least busy if there must be no further one. */
  #chooseWorker(): ModuleWorker | undefined {
    const usable = this.#workers.filter(({ retired }) => !retired)
    const leastBusy = usable.reduce<ModuleWorker | undefined>(
      (best, worker) => (best === undefined || worker.calls < best.calls ? worker : best),
      undefined,
    )
    const full = usable.length + this.#loading.size >= MAX_WORKERS || this.#broken !== undefined
    return leastBusy?.calls === 0 || full ? leastBusy : undefined
  }

  async #addWorker(): Promise<ModuleWorker> {
    try {
      const worker = await this.#spawn()
      this.#workers.push(worker)
      this.#broken = undefined
      return worker
    } catch (error) {
      if (error instanceof HandlerFault && error.rule === 'handler-closed') throw error
      const problem = await explain(error as Error, [this.path])
      throw new HandlerFault('handler-not-loaded', this.#loadError(problem).message)
    }
  }

  async #spawn(): Promise<ModuleWorker> {
    const worker = new ModuleWorker({
      module: pathToFileURL(this.path).href,
      env: environment(this.#options),
      log: this.#options.log,
      onExit: (gone) => (this.#workers = this.#workers.filter((other) => other !== gone)),
    })
    this.#loading.add(worker)
    try {
      await worker.load()
      if (!this.#closed) return worker
      await worker.end()
      throw new HandlerFault('handler-closed', 'the endpoint is closed')
    } finally {
      this.#loading.delete(worker)
    }
  }

  /** One reload after the other; what changes meanwhile is for the next. */
  #onChange(files: string[]): void {
    this.#changed.push(...files)
    this.#reloading ??= this.#reload().finally(() => (this.#reloading = undefined))
  }

  async #reload(): Promise<void> {
    while (this.#changed.length > 0 && !this.#closed) {
      const files = this.#changed.splice(0)
      try {
        const worker = await this.#spawn()
        const old = this.#workers
        this.#workers = [worker]
        this.#broken = undefined
        for (const each of old) each.retire()
        this.#options.onReload(files)
      } catch (error) {
        if (this.#closed) return
        this.#broken = error as Error
        const problem = await explain(error as Error, [...files, this.path])
        this.#options.onWarning(
          `${this.#loadError(problem).message}; the code from before the change goes on`,
          (error as Error).stack,
        )
      }
    }
  }

  get #where(): string {
    return `authorizers["${this.#options.name}"].module`
  }

  #loadError(problem: string, cause?: Error): TypeError {
    const error = new TypeError(`${this.#where}: cannot load ${this.path}: ${problem}`, { cause })
    // Tells a module that is broken from options that are wrong.
    return Object.assign(error, { code: 'ERR_HANDLER_NOT_LOADED' })
  }
}

/** What an environment of Lambda tells a function about itself; what is set already stays. */
function environment({ name, region }: FunctionIdentity): NodeJS.ProcessEnv {
  return {
    AWS_REGION: region,
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '128',
    AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
    ...process.env,
    AWS_LAMBDA_FUNCTION_NAME: name,
  }
}

async function explain(error: Error, files: string[]): Promise<string> {
  if (error instanceof HandlerFault) return error.message
  if (error.name === 'SyntaxError') {
    const place = await locateSyntaxError(files)
    return `${error.name}: ${error.message}${place === '' ? '' : `\n${place}\n`}`
  }
  const typeScript = /\.[cm]?ts"?/.test(error.message) && error.message.includes('Unknown file extension')
  const hint = typeScript
    ? `; Node.js ${process.version} cannot run TypeScript: use 22.18 or later, or compile it first`
    : ''
  return `${error.name}: ${error.message}${hint}`
}
