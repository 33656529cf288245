/**
 * The thread that a handler's module runs in. A thread of its own can be ended: by the time limit when the handler
 * never returns, and by a reload, which leaves nothing of the old code behind, however it was imported.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { parentPort, workerData } from 'node:worker_threads'
import type { AuthorizerEvent } from '../authorizer/authorizer-event'
import { asError, HandlerFault, writeAnswer, type HandlerFaultRule } from './handler'
import { callFunction, type LambdaFunction } from './handler-function'
import { createContext, type LambdaContextData } from './lambda-context'

export interface WorkerSettings {
  /** file: URL */
  module: string
}

export interface WorkerCall {
  id: number
  event: AuthorizerEvent
  context: LambdaContextData
  remainingMs: number
}

export interface WorkerError {
  name: string
  message: string
  stack?: string
  /** The error is a HandlerFault. */
  rule?: HandlerFaultRule
}

export type WorkerMessage =
  | { type: 'loaded' }
  | { type: 'load-failed'; error: WorkerError }
  | { type: 'json'; files: string[] }
  | { type: 'answer'; id: number; json: string }
  | { type: 'failed'; id: number; error: WorkerError }
  | { type: 'output'; id: number | undefined; stream: 'stdout' | 'stderr'; text: string }

// A handler that prints without end must not fill the memory of the process with messages.
const MAX_OUTPUT_LENGTH = 64 * 1024

const port = parentPort!
const running = new AsyncLocalStorage<number>()
const toldJson = new Set<string>()
let outputLeft = MAX_OUTPUT_LENGTH

captureOutput('stdout')
captureOutput('stderr')
void load((workerData as WorkerSettings).module)

async function load(url: string): Promise<void> {
  try {
    const lambda = findHandler((await import(url)) as Record<string, unknown>)
    port.on('message', (call: WorkerCall) => void answer(lambda, call))
    tellJson()
    send({ type: 'loaded' })
  } catch (error) {
    send({ type: 'load-failed', error: describe(error) })
  }
}

async function answer(
  lambda: LambdaFunction,
  { id, event, context, remainingMs }: WorkerCall,
): Promise<void> {
  outputLeft = MAX_OUTPUT_LENGTH
  const deadline = Date.now() + remainingMs
  try {
    const full = createContext(context, () => deadline - Date.now())
    const json = writeAnswer(await running.run(id, () => callFunction(lambda, event, full)))
    tellJson()
    send({ type: 'answer', id, json })
  } catch (error) {
    tellJson()
    send({ type: 'failed', id, error: describe(error) })
  }
}

/** Before an answer, after which the files may change. The cache of `require` holds JSON that `import` got as well. */
function tellJson(): void {
  const files = Object.keys(require.cache).filter((file) => file.endsWith('.json') && !toldJson.has(file))
  if (files.length === 0) return
  for (const file of files) toldJson.add(file)
  send({ type: 'json', files })
}

/** What CommonJS exports is the default export of the module, too; a transpiler may have wrapped it once more. */
function findHandler(module: Record<string, unknown>): LambdaFunction {
  const exported = module['default'] as Record<string, unknown> | undefined
  const inner = exported?.['default'] as Record<string, unknown> | undefined
  for (const candidate of [module['handler'], exported, exported?.['handler'], inner, inner?.['handler']]) {
    if (typeof candidate === 'function') return { handler: candidate as LambdaFunction['handler'] }
  }
  const names = Object.keys(module).filter((name) => name !== 'module.exports')
  const found = names.length === 0 ? 'it exports nothing' : `its exports are: ${names.join(', ')}`
  throw new HandlerFault(
    'handler-not-loaded',
    `it exports no handler: write "export const handler = async (event, context) => ({ ... })", ` +
      `"exports.handler = ..." in CommonJS, or make the function its default export (${found})`,
  )
}

/** Everything that console.log writes goes through here, at once and not when the thread is idle. */
function captureOutput(stream: 'stdout' | 'stderr'): void {
  const write = (chunk: string | Uint8Array, encoding?: unknown, callback?: unknown): boolean => {
    if (outputLeft > 0) {
      const text = (typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString()).trimEnd()
      const kept = text.slice(0, outputLeft)
      outputLeft -= text.length + 1
      const left = kept === '' ? '' : kept === text ? '\n' : '...\n'
      const cut = outputLeft > 0 ? '' : `${left}(what it prints after this is left out)`
      send({ type: 'output', id: running.getStore(), stream, text: kept + cut })
    }
    const done = typeof encoding === 'function' ? encoding : callback
    if (typeof done === 'function') queueMicrotask(() => (done as () => void)())
    return true
  }
  process[stream].write = write
}

function describe(thrown: unknown): WorkerError {
  const { name, message, stack } = asError(thrown)
  return {
    name,
    message,
    ...(stack !== undefined && { stack }),
    ...(thrown instanceof HandlerFault && { rule: thrown.rule }),
  }
}

function send(message: WorkerMessage): void {
  port.postMessage(message)
}
