import { readFile } from 'node:fs/promises'
import { extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { LocalEndpointOptions } from '../endpoint'
import { checkOptions, isObject } from '../options'
import { UsageError } from './usage-error'

const MEMBERS =
  'Its members are the options of startLocalEndpoint; the README of custom-authorizer-local lists them.'

/**
 * The options in a file: JSON, or the default export of a module, which may be a function that gives them.
 *
 * @throws {UsageError} that names the file and, where there is one, the wrong member.
 */
export async function readConfig(path: string): Promise<Partial<LocalEndpointOptions>> {
  const options = await (extname(path) === '.json' ? readJson(path) : importOptions(path))
  if (!isObject(options)) throw new UsageError(`--config ${path} gives no object with options.`, MEMBERS)
  try {
    checkOptions({ authorizers: {}, ...options })
  } catch (error) {
    throw new UsageError(`--config ${path}: ${(error as Error).message}.`, MEMBERS)
  }
  for (const [member, [holds, kind]] of Object.entries(KINDS)) {
    const value = options[member]
    if (value !== undefined && !holds(value)) {
      throw new UsageError(`--config ${path}: ${member} must be ${kind}; got ${describe(value)}.`, MEMBERS)
    }
  }
  return options
}

async function readJson(path: string): Promise<unknown> {
  const text = await readFile(path, 'utf8').catch((error: Error) => {
    throw new UsageError(`--config ${path} cannot be read: ${error.message}.`, 'Is the path right?')
  })
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new UsageError(
      `--config ${path} is no valid JSON: ${(error as Error).message}.`,
      'A file that is JavaScript needs the ending .mjs, .cjs or .js.',
    )
  }
}

async function importOptions(path: string): Promise<unknown> {
  try {
    const loaded = (await import(pathToFileURL(resolve(path)).href)) as { default?: unknown }
    return typeof loaded.default === 'function' ? await loaded.default() : loaded.default
  } catch (error) {
    const { message, stack } = error as Error
    // The first line below the message that is a place: where in the file it failed.
    const place = stack
      ?.split('\n')
      .find((line) => /^\s+at /u.test(line))
      ?.trim()
    throw new UsageError(
      `--config ${path} cannot be loaded: ${message}.`,
      place === undefined
        ? 'Its default export must be the options, or a function that gives them.'
        : `It failed ${place}`,
    )
  }
}

const isText = (value: unknown): boolean => typeof value === 'string' && value !== ''
const isFunction = (value: unknown): boolean => typeof value === 'function'
const isPort = (value: unknown): boolean =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65_535

/** What an endpoint would find out later, or never. */
const KINDS: Readonly<Record<string, readonly [(value: unknown) => boolean, string]>> = {
  defaultAuthorizer: [isText, "an authorizer's name"],
  port: [isPort, 'a whole number from 0 to 65535'],
  host: [isText, 'an address'],
  hostNames: [(value) => Array.isArray(value) && value.every(isText), 'a list of host names'],
  region: [isText, 'the name of a region'],
  accountId: [(value) => typeof value === 'string' && /^\d{12}$/u.test(value), 'a string of 12 digits'],
  profile: [(value) => value === 'aws' || value === 'friendly', '"aws" or "friendly"'],
  limits: [isObject, 'an object'],
  log: [isFunction, 'a function'],
  onInvocation: [isFunction, 'a function'],
}

const describe = (value: unknown): string => (JSON.stringify(value) ?? String(value)).slice(0, 80)
