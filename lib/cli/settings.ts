import type { ConnectOptions, LogLevel } from '../../index.js'
import { UsageError } from './arguments.js'
import type { Flag, Meaning, Sample } from './flags.js'

/** What to do, and how. */
export interface Settings {
  sample: Sample
  options: ConnectOptions & { clientId: string }
  topic: string
  message: string
  /** 0: without end. */
  count: number
}

export type Values = ReadonlyMap<Flag, string | Uint8Array>

export const USAGE = 'Usage: custom-authorizer-connect [diagnose] --endpoint <host> [flags]'

/**
 * Gives the flags their meaning and everything else the defaults of AWS's samples.
 *
 * @throws {UsageError} where the endpoint is missing, the proxy's host is more or less than that, or two flags of one
 * meaning differ.
 */
export function settingsFrom(values: Values): Settings {
  const sample = sampleOf(values)
  const meant = meanings(values)
  const text = (meaning: Meaning) => meant.get(meaning) as string | undefined

  const port = text('port')
  const count = Number(text('count') ?? '5')
  const caFile = text('caFile')
  const transport = text('transport') as ConnectOptions['transport']
  const options: Settings['options'] = {
    endpoint: endpointOf(values),
    clientId: text('clientId') ?? randomClientId(sample),
    mqttVersion: (text('mqttVersion') ?? (sample === 'pubsub' ? '5' : '3')) === '5' ? 5 : 3,
    cleanSession: sample === 'pubsub',
    keepAliveSeconds: 1_200,
    // A run that ends by itself is a question, and what went wrong is its answer.
    ...(!(sample === 'pubsub' && count === 0) && { reconnect: false as const }),
    ...(port !== undefined && { port: Number(port) }),
    ...(transport !== undefined && { transport }),
    ...(caFile !== undefined && { tls: { caFile } }),
    proxy: proxyFrom(text('proxyHost'), text('proxyPort')),
  }
  for (const name of [
    'authorizerName',
    'username',
    'tokenKeyName',
    'tokenValue',
    'tokenSignature',
  ] as const) {
    const value = text(name)
    if (value !== undefined) options[name] = value
  }
  const password = meant.get('password')
  if (password !== undefined) options.password = password

  return {
    sample,
    options,
    topic: text('topic') ?? 'test/topic',
    message: text('message') ?? 'Hello from mqtt5 sample',
    count,
  }
}

/** The proxy of the flags, as in AWS's samples an HTTP one without a login, or else that of the environment. */
function proxyFrom(host: string | undefined, port: string | undefined): string {
  if (host === undefined) {
    if (port === undefined) return 'environment'
    throw new UsageError('--proxy_port is given without --proxy_host.')
  }
  const { isIPv6 } = require('node:net') as typeof import('node:net')
  const v6 = isIPv6(host)
  if (!v6 && /[\s:/\\?#@[\]%]/u.test(host)) {
    throw new UsageError(
      '--proxy_host must be a host name alone.',
      'The port goes into --proxy_port. A URL, as for a proxy with a login or one of SOCKS 5, goes into the environment variable HTTPS_PROXY.',
    )
  }
  return `http://${v6 ? `[${host}]` : host}:${port ?? '8080'}`
}

/** The newer samples' flags select them, whatever else is there. */
export function sampleOf(values: Values): Sample {
  return [...values.keys()].some((flag) => flag.sample === 'pubsub') ? 'pubsub' : 'connect'
}

/** @throws {UsageError} where there is none. */
export function endpointOf(values: Values): string {
  const endpoint = valueOf(values, 'endpoint')
  if (endpoint === undefined) {
    throw new UsageError('--endpoint is required.', `${USAGE}\nRun with --help to see every flag.`)
  }
  return endpoint
}

/** A fatal failure is reported in any case. */
export function logLevelOf(values: Values): LogLevel {
  const verbosity = valueOf(values, 'verbosity') as LogLevel | 'fatal' | undefined
  return verbosity === 'fatal' ? 'none' : (verbosity ?? 'none')
}

/** The text of a flag whose meaning has one name only. */
function valueOf(values: Values, meaning: Meaning): string | undefined {
  for (const [flag, value] of values) if (flag.meaning === meaning && value !== '') return value as string
  return undefined
}

/** One value a meaning. An empty one counts as absent. */
function meanings(values: Values): Map<Meaning, string | Uint8Array> {
  const meant = new Map<Meaning, string | Uint8Array>()
  const saidBy = new Map<Meaning, Flag>()
  for (const [flag, value] of values) {
    if (value.length === 0) continue
    const other = saidBy.get(flag.meaning)
    if (other !== undefined && Buffer.compare(bytesOf(value), bytesOf(meant.get(flag.meaning)!)) !== 0) {
      throw new UsageError(
        `--${other.name} and --${flag.name} mean the same and differ.`,
        'Give one of them, or the same value to both.',
      )
    }
    meant.set(flag.meaning, value)
    saidBy.set(flag.meaning, flag)
  }
  return meant
}

function bytesOf(value: string | Uint8Array): Uint8Array {
  return typeof value === 'string' ? Buffer.from(value) : value
}

function randomClientId(sample: Sample): string {
  if (sample === 'connect') return `test-${Math.floor(Math.random() * 1e8)}`
  const hex = Math.floor(Math.random() * 2 ** 32).toString(16)
  return `mqtt5-sample-${hex.padStart(8, '0')}`
}
