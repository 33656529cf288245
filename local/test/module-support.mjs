import { mkdir, mkdtemp, realpath, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { grant, start, unsigned } from './support.mjs'

/** The source of a valid answer, for handlers that are written into files. */
export const ANSWER = JSON.stringify(grant())
export const answering = (principalId) =>
  `export const handler = async () => ({ ...${ANSWER}, principalId: ${JSON.stringify(principalId)} })\n`

/** Writes files into a folder of their own and returns a function that gives their paths. */
export async function folder(t, files) {
  const directory = await mkdtemp(join(await realpath(tmpdir()), 'handler-module-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const path = (name) => join(directory, name)
  for (const [name, text] of Object.entries(files)) await write(path(name), text)
  return path
}

export async function write(path, text) {
  await mkdir(dirname(path), { recursive: true })
  // Moved into place, as editors do: a reader never sees half of it.
  await writeFile(`${path}.new`, text)
  await rename(`${path}.new`, path)
}

/** An endpoint whose default authorizer is this module; `next(type)` waits for the next event of that type. */
export async function startModule(t, module, options = {}) {
  const waiting = []
  const endpoint = await start(t, {
    authorizers: { Module: { module, signingDisabled: true }, Function: unsigned() },
    defaultAuthorizer: 'Module',
    log: (event) => {
      const index = waiting.findIndex(({ type }) => type === event.type)
      if (index >= 0) waiting.splice(index, 1)[0].resolve(event)
    },
    ...options,
  })
  const next = (type) => new Promise((resolve) => waiting.push({ type, resolve }))
  return { endpoint, next }
}

export const principal = async (endpoint) =>
  (await endpoint.testInvokeAuthorizer({ mqttContext: {} })).principalId

/** Counts the threads of this process: `most` is how many there were at the same time. */
export function countThreads(t) {
  const count = { alive: 0, most: 0 }
  const onWorker = (worker) => {
    count.most = Math.max(count.most, ++count.alive)
    worker.once('exit', () => count.alive--)
  }
  process.on('worker', onWorker)
  t.after(() => process.off('worker', onWorker))
  return count
}

/** A module whose calls say that they began, and answer once there is a file `go.txt` beside it. */
export const holding = (principalId) => `import { existsSync } from 'node:fs'
  export const handler = async () => {
    console.log('called')
    while (!existsSync(new URL('go.txt', import.meta.url))) await new Promise((next) => setTimeout(next, 5))
    return { ...${ANSWER}, principalId: ${JSON.stringify(principalId)} }
  }`
