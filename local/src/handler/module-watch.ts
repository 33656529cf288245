import { watch, type FSWatcher } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { basename, join, sep } from 'node:path'

export interface ModuleWatchOptions {
  directory: string
  /** Whether a JSON file is one that the module imports. */
  concernsJson: (path: string) => boolean
  /** The files that changed since it was last called. */
  onChange: (files: string[]) => void
  onProblem: (message: string) => void
}

/** An editor writes a file in several steps. */
const SETTLE_MS = 50
const MAX_DIRECTORIES = 1000
/** `package.json` says how the code beside it is read. */
const CODE = /\.[cm]?[jt]s$|^package\.json$/

/**
 * Tells when code below a directory changes. Not `recursive: true`, which would go into node_modules as well; and
 * directories rather than files, since editors replace a file by another one.
 */
export class ModuleWatch {
  readonly #options: ModuleWatchOptions
  readonly #watchers = new Map<string, FSWatcher>()
  readonly #changed = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  #closed = false
  #complained = false

  constructor(options: ModuleWatchOptions) {
    this.#options = options
  }

  /** Resolves once every change is noticed. */
  start(): Promise<void> {
    return this.#add(this.#options.directory, false)
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    for (const watcher of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
  }

  /** What is in a folder that is new has changed, too: it may have been there before it was watched. */
  async #add(directory: string, isNew: boolean): Promise<void> {
    if (this.#closed || this.#watchers.has(directory)) return
    if (this.#watchers.size >= MAX_DIRECTORIES) {
      return this.#complain(`there are more than ${MAX_DIRECTORIES} folders below ${this.#options.directory}`)
    }
    try {
      const watcher = watch(directory, (type, name) => this.#onEvent(type, directory, name))
      watcher.on('error', () => this.#remove(directory))
      this.#watchers.set(directory, watcher)
    } catch (error) {
      return this.#complain(`${directory} cannot be watched: ${(error as Error).message}`)
    }
    const entries = await readdir(directory, { withFileTypes: true }).catch(() => [])
    for (const entry of entries) {
      const path = join(directory, entry.name)
      if (isIgnored(entry.name)) continue
      if (entry.isDirectory()) await this.#add(path, isNew)
      else if (isNew && this.#isCode(path)) this.#note(path)
    }
  }

  #onEvent(type: string, directory: string, name: string | null): void {
    if (name === null || isIgnored(name)) return
    const path = join(directory, name)
    if (this.#isCode(path)) this.#note(path)
    else if (type === 'rename') void this.#rescan(path)
  }

  #isCode(path: string): boolean {
    return CODE.test(basename(path)) || (path.endsWith('.json') && this.#options.concernsJson(path))
  }

  #note(path: string): void {
    if (this.#closed) return
    this.#changed.add(path)
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      const files = [...this.#changed]
      this.#changed.clear()
      this.#options.onChange(files)
    }, SETTLE_MS)
    this.#timer.unref()
  }

  /** `path` came or went. If it is a folder, it is a new one, even where there was one of that name before. */
  async #rescan(path: string): Promise<void> {
    this.#remove(path)
    const isFolder = await stat(path).then(
      (found) => found.isDirectory(),
      () => false,
    )
    if (isFolder) await this.#add(path, true)
  }

  #remove(directory: string): void {
    for (const [watched, watcher] of this.#watchers) {
      if (watched !== directory && !watched.startsWith(directory + sep)) continue
      watcher.close()
      this.#watchers.delete(watched)
    }
  }

  #complain(problem: string): void {
    if (this.#complained) return
    this.#complained = true
    this.#options.onProblem(`${problem}; changes there are not noticed, so restart after them`)
  }
}

function isIgnored(name: string): boolean {
  return name === 'node_modules' || name.startsWith('.')
}
