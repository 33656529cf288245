import { parseArgs, type ParseArgsConfig } from 'node:util'
import type { Authorizer } from '../authorizer/authorizer'
import type { LocalEndpointOptions } from '../endpoint'
import { nearest } from './nearest'
import { readPublicKey } from './public-key'
import { UsageError } from './usage-error'

/** What the command line asks for. Options that it does not name are left out, so that a config file can say them. */
export interface Arguments {
  options: Partial<LocalEndpointOptions>
  /** Authorizers of which nothing was said about signing. */
  assumedUnsigned: string[]
  config?: string
  caFile?: string
  json: boolean
  quiet: boolean
  redact: boolean
  color: boolean
  help: boolean
  version: boolean
}

const FLAGS = {
  authorizer: { type: 'string', multiple: true },
  'token-key-name': { type: 'string', multiple: true },
  'public-key': { type: 'string', multiple: true },
  'signing-disabled': { type: 'boolean', multiple: true },
  inactive: { type: 'boolean', multiple: true },
  'default-authorizer': { type: 'string' },
  port: { type: 'string' },
  host: { type: 'string' },
  'host-name': { type: 'string', multiple: true },
  region: { type: 'string' },
  'account-id': { type: 'string' },
  profile: { type: 'string' },
  'handler-timeout': { type: 'string' },
  config: { type: 'string' },
  'ca-file': { type: 'string' },
  json: { type: 'boolean' },
  quiet: { type: 'boolean' },
  redact: { type: 'boolean' },
  'no-color': { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
} satisfies NonNullable<ParseArgsConfig['options']>

/**
 * Reads the flags. Those about signing belong to the `--authorizer` before them.
 *
 * @throws {UsageError} for a flag that does not exist or lacks its value, and for a value that cannot be meant.
 */
export function parseArguments(argv: readonly string[]): Arguments {
  const { values, tokens } = parse(argv)
  const options: Partial<LocalEndpointOptions> = {}
  const authorizers = readAuthorizers(tokens)
  const assumedUnsigned = completeSigning(authorizers)
  if (Object.keys(authorizers).length > 0) options.authorizers = authorizers
  if (values['default-authorizer'] !== undefined) options.defaultAuthorizer = values['default-authorizer']
  if (values.port !== undefined) options.port = readPort(values.port)
  if (values.host !== undefined) options.host = values.host
  if (values['host-name'] !== undefined) options.hostNames = values['host-name']
  if (values.region !== undefined) options.region = values.region
  if (values['account-id'] !== undefined) options.accountId = readAccountId(values['account-id'])
  if (values.profile !== undefined) options.profile = readProfile(values.profile)
  const timeout = values['handler-timeout']
  if (timeout !== undefined) options.limits = { handlerTimeoutMs: readSeconds(timeout) * 1000 }
  return {
    options,
    assumedUnsigned,
    ...(values.config !== undefined && { config: values.config }),
    ...(values['ca-file'] !== undefined && { caFile: values['ca-file'] }),
    json: values.json === true,
    quiet: values.quiet === true,
    redact: values.redact === true,
    color: values['no-color'] !== true,
    help: values.help === true,
    version: values.version === true,
  }
}

function suggestion({ code, message }: NodeJS.ErrnoException): string | undefined {
  const [, flag = ''] = /'--([\w-]+)/u.exec(message) ?? []
  const meant = code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' ? nearest(flag, Object.keys(FLAGS)) : undefined
  return meant === undefined ? undefined : `Did you mean --${meant}? Run with --help to see every flag.`
}

interface Token {
  name: string
  value: string | undefined
}

function parse(argv: readonly string[]) {
  try {
    const { values, tokens } = parseArgs({ args: [...argv], options: FLAGS, strict: true, tokens: true })
    const named = tokens.flatMap((token) =>
      token.kind === 'option' ? [{ name: token.name, value: token.value }] : [],
    )
    return { values, tokens: named as Token[] }
  } catch (error) {
    // The first sentence says what is wrong; what follows it is about dashes.
    const [sentence = ''] = (error as Error).message.split(/[.](?= )|\n/u)
    throw new UsageError(`${sentence.replace(/[.]$/u, '')}.`, suggestion(error as NodeJS.ErrnoException))
  }
}

function readAuthorizers(tokens: readonly Token[]): Record<string, Authorizer> {
  const authorizers: Record<string, Authorizer> = {}
  let current: { name: string; authorizer: Authorizer } | undefined
  for (const { name, value = '' } of tokens) {
    if (name === 'authorizer') {
      const [key, authorizer] = readAuthorizer(value)
      if (Object.hasOwn(authorizers, key)) throw new UsageError(`--authorizer ${key} is given twice.`)
      authorizers[key] = authorizer
      current = { name: key, authorizer }
      continue
    }
    if (!OF_AN_AUTHORIZER.has(name)) continue
    if (current === undefined) {
      throw new UsageError(
        `--${name} comes before any --authorizer.`,
        'It belongs to the --authorizer before it.',
      )
    }
    const { authorizer } = current
    if (name === 'token-key-name') authorizer.tokenKeyName = value
    else if (name === 'signing-disabled') authorizer.signingDisabled = true
    else if (name === 'inactive') authorizer.status = 'INACTIVE'
    else authorizer.tokenSigningPublicKeys = withKey(authorizer.tokenSigningPublicKeys, value)
  }
  return authorizers
}

const OF_AN_AUTHORIZER = new Set(['token-key-name', 'public-key', 'signing-disabled', 'inactive'])

/** `Name=./module.mjs`, or `Name=lambda:http://127.0.0.1:3001/Function`. */
function readAuthorizer(text: string): [string, Authorizer] {
  const [, name = '', target = ''] = /^([^=]+)=(.+)$/su.exec(text) ?? []
  if (target === '') {
    throw new UsageError(
      `--authorizer must be NAME=MODULE or NAME=lambda:URL; got ${JSON.stringify(text)}.`,
      'For example --authorizer MyAuthorizer=./authorizer.mjs',
    )
  }
  if (!target.startsWith('lambda:')) return [name, { module: target }]
  const url = target.slice('lambda:'.length)
  const [, endpoint, functionName] = /^(https?:\/\/[^/]+)\/([^/]+)$/u.exec(url) ?? []
  if (endpoint === undefined || functionName === undefined) {
    throw new UsageError(
      `--authorizer ${name}=lambda: needs the URL of a Lambda API with a function's name; got ${JSON.stringify(url)}.`,
      'For example lambda:http://127.0.0.1:3001/MyFunction, with `sam local start-lambda` running.',
    )
  }
  return [name, { lambda: { endpoint, functionName } }]
}

function withKey(keys: Record<string, string> = {}, path: string): Record<string, string> {
  return { ...keys, [`key-${Object.keys(keys).length + 1}`]: readPublicKey(path) }
}

/** Without a key there is nothing to check a signature with: such an authorizer is unsigned. Names those. */
function completeSigning(authorizers: Record<string, Authorizer>): string[] {
  const assumed: string[] = []
  for (const [name, authorizer] of Object.entries(authorizers)) {
    const signs = authorizer.tokenSigningPublicKeys !== undefined
    if (signs && authorizer.signingDisabled === true) {
      throw new UsageError(
        `--authorizer ${name} has both --public-key and --signing-disabled.`,
        'Take one of them away: the first checks signatures, the second does not.',
      )
    }
    if (signs && authorizer.tokenKeyName === undefined) {
      throw new UsageError(
        `--authorizer ${name} has --public-key and no --token-key-name.`,
        'Add --token-key-name NAME: the parameter in which the client sends the token.',
      )
    }
    if (signs || authorizer.signingDisabled === true) continue
    authorizer.signingDisabled = true
    assumed.push(name)
  }
  return assumed
}

function readPort(text: string): number {
  const port = /^\d{1,5}$/u.test(text) ? Number(text) : Number.NaN
  if (!(port <= 65_535)) throw new UsageError(`--port must be a number from 0 to 65535; got ${text}.`)
  return port
}

function readSeconds(text: string): number {
  const seconds = /^\d{1,5}$/u.test(text) ? Number(text) : 0
  if (seconds === 0) throw new UsageError(`--handler-timeout must be a whole number of seconds; got ${text}.`)
  return seconds
}

function readAccountId(text: string): string {
  if (!/^\d{12}$/u.test(text)) throw new UsageError(`--account-id must be 12 digits; got ${text}.`)
  return text
}

function readProfile(text: string): 'aws' | 'friendly' {
  if (text !== 'aws' && text !== 'friendly') {
    throw new UsageError(`--profile must be aws or friendly; got ${text}.`)
  }
  return text
}
