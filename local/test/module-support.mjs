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
