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
/** Together with those that take no further call and still have some to end. Beyond it a new thread waits. */
const MAX_THREADS = 2 * MAX_WORKERS

/**
 * A handler in a file. It runs in threads that are replaced when the file, or code beside or below it, changes. The
 * same thread is used again as long as it is free, so what the module keeps in its variables stays there, as in a warm
 * Lambda function.
 */
export class ModuleHandler implements Handler {
  readonly path: string
  readonly #options: ModuleHandlerOptions
  #watch: ModuleWatch | undefined
  /** Those that take calls, loaded or not yet. */
  #workers: ModuleWorker[] = []
  /** All that have not ended. */
  readonly #threads = new Set<ModuleWorker>()
  /** Why the files as they are now do not load; the threads with the older code go on. */
  #broken: Error | undefined
  #reloading: Promise<void> | undefined
  #changed: string[] = []
  /** The JSON files that the module has imported. Others beside it may be what it writes itself. */
  readonly #importedJson = new Set<string>()
  readonly #explained = new WeakMap<Error, Promise<string>>()
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
      // What a module that does not load wants to import, nobody knows.
      concernsJson: (path) => this.#broken !== undefined || this.#importedJson.has(path),
      onChange: (files) => this.#onChange(files),
      onProblem: (message) => this.#options.onWarning(`${this.#where}: ${message}`),
    })
    await this.#watch.start()
    const worker = this.#addWorker()
    try {
      await worker.loaded
    } catch (error) {
      throw this.#loadError(await explain(error as Error, [this.path]), error as Error)
    }
  }

  async invoke(event: AuthorizerEvent, call: HandlerCall): Promise<unknown> {
    // Chosen without a pause, or the next call would take the same thread for free.
    let worker = this.#chooseWorker()
    while (worker === undefined) {
      await this.#untilThreadEnds()
      // The time may have passed meanwhile.
      if (call.signal.aborted) return undefined
      worker = this.#chooseWorker()
    }
    try {
      return await worker.invoke(event, call)
    } catch (error) {
      const { loadError } = worker
      if (loadError === undefined || error !== loadError || isClosing(error)) throw error
      const problem = await this.#explainOnce(loadError)
      throw new HandlerFault('handler-not-loaded', this.#loadError(problem).message)
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#watch?.close()
    await Promise.all([...this.#threads].map((worker) => worker.end()))
    await this.#reloading
  }

  /** One that is free, a new one, or the least busy if there must be no further one; undefined if there is none. */
  #chooseWorker(): ModuleWorker | undefined {
    if (this.#closed) throw new HandlerFault('handler-closed', 'the endpoint is closed')
    const usable = this.#workers.filter(({ retired }) => !retired)
    const free = leastBusy(usable.filter(({ calls }) => calls === 0))
    if (free !== undefined) return free
    const full = usable.length >= MAX_WORKERS || this.#threads.size >= MAX_THREADS
    const mayGrow = !full && (this.#broken === undefined || usable.length === 0)
    return mayGrow ? this.#addWorker() : leastBusy(usable)
  }

  #addWorker(): ModuleWorker {
    const worker = this.#spawn()
    this.#workers.push(worker)
    const broken = this.#broken
    worker.loaded.then(
      // Not where a reload has failed since: this one may have begun with the code from before.
      () => this.#broken === broken && (this.#broken = undefined),
      () => undefined,
    )
    return worker
  }

  #spawn(): ModuleWorker {
    const worker = new ModuleWorker({
      module: pathToFileURL(this.path).href,
      env: environment(this.#options),
      log: this.#options.log,
      onJson: (files) => {
        for (const file of files) this.#importedJson.add(file)
      },
      onExit: (gone) => {
        this.#threads.delete(gone)
        this.#workers = this.#workers.filter((other) => other !== gone)
      },
    })
    this.#threads.add(worker)
    return worker
  }

  /** Finding the place of a syntax error takes a process: one for all calls that waited for the same thread. */
  #explainOnce(error: Error): Promise<string> {
    const known = this.#explained.get(error)
    if (known !== undefined) return known
    const explanation = explain(error, [this.path])
    this.#explained.set(error, explanation)
    return explanation
  }

  async #untilThreadEnds(): Promise<void> {
    await Promise.race([...this.#threads].map(({ exited }) => exited))
  }

  /** One reload after the other; what changes meanwhile is for the next. */
  #onChange(files: string[]): void {
    this.#changed.push(...files)
    this.#reloading ??= this.#reload().finally(() => (this.#reloading = undefined))
  }

  async #reload(): Promise<void> {
    while (this.#changed.length > 0 && !this.#closed) {
      while (this.#threads.size >= MAX_THREADS) await this.#untilThreadEnds()
      if (this.#closed) return
      const files = this.#changed.splice(0)
      try {
        const worker = this.#spawn()
        await worker.loaded
        this.#workers = [worker]
        this.#broken = undefined
        // Those still loading, too: they may have begun with the code from before. They answer the calls they have.
        for (const other of this.#threads) if (other !== worker) other.retire()
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

/** One that is loaded where there is one. */
function leastBusy(workers: ModuleWorker[]): ModuleWorker | undefined {
  return workers.toSorted((a, b) => Number(b.isLoaded) - Number(a.isLoaded) || a.calls - b.calls)[0]
}

function isClosing(error: unknown): boolean {
  return error instanceof HandlerFault && error.rule === 'handler-closed'
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
    const asCommonJs = /Unexpected token 'export'|Cannot use import statement/.test(error.message)
    const hint = asCommonJs ? '; an ES module in a package of CommonJS needs the ending .mjs' : ''
    return `${error.name}: ${error.message}${hint}${place === '' ? '' : `\n${place}\n`}`
  }
  const typeScript = /\.[cm]?ts"?/.test(error.message) && error.message.includes('Unknown file extension')
  const hint = typeScript
    ? `; Node.js ${process.version} cannot run TypeScript: use 22.18 or later, or compile it first`
    : ''
  return `${error.name}: ${error.message}${hint}`
}
