import { readFile } from 'node:fs/promises'
import { extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { LocalEndpointOptions } from '../endpoint'
import { isObject } from '../options'
import { UsageError } from './usage-error'

/**
 * The options in a file: JSON, or the default export of a module, which may be a function that gives them.
 *
 * @throws {UsageError} that names the file.
 */
export async function readConfig(path: string): Promise<Partial<LocalEndpointOptions>> {
  const options = await (extname(path) === '.json' ? readJson(path) : importOptions(path))
  if (!isObject(options)) {
    throw new UsageError(
      `--config ${path} gives no object with options.`,
      'Its members are those of startLocalEndpoint.',
    )
  }
  return options
}

async function readJson(path: string): Promise<unknown> {
  const text = await readFile(path, 'utf8').catch((error: Error) => {
    throw new UsageError(`--config ${path} cannot be read: ${error.message}`)
  })
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new UsageError(`--config ${path} is no valid JSON: ${(error as Error).message}`)
  }
}

async function importOptions(path: string): Promise<unknown> {
  try {
    const loaded = (await import(pathToFileURL(resolve(path)).href)) as { default?: unknown }
    return typeof loaded.default === 'function' ? await loaded.default() : loaded.default
  } catch (error) {
    throw new UsageError(`--config ${path} cannot be loaded: ${(error as Error).message}`)
  }
}
