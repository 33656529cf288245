import type { LogRecord } from '../../index.js'
import { UsageError } from './arguments.js'
import { flagFor, type Meaning, type Sample } from './flags.js'

/** A run that failed although no call did. */
export class RunError extends Error {
  readonly stage = 'operation'

  constructor(
    readonly code: string,
    message: string,
    readonly hint: string,
  ) {
    super(message)
  }
}

/** What a failure may tell about itself: the client's `MqttError` all of it, any other error less. */
interface Failure {
  code?: unknown
  stage?: unknown
  message: string
  hint?: unknown
  warnings?: unknown
}

/**
 * A failure as lines for a person: code, stage and message in the first, what to look at next below it.
 * Options are called by the flags of the sample.
 */
export function describeFailure(error: unknown, sample: Sample): string {
  const failure: Failure = error instanceof Error ? error : { message: String(error) }
  const usage = error instanceof UsageError
  const code = usage ? 'ERR_INVALID_OPTION' : typeof failure.code === 'string' ? failure.code : 'ERR_INTERNAL'
  const stage = usage ? 'options' : typeof failure.stage === 'string' ? failure.stage : 'operation'
  const words = (text: string) => (stage === 'options' && !usage ? withFlagNames(text, sample) : text)

  const lines = [`${code} (${stage}): ${oneLine(words(failure.message))}`]
  if (typeof failure.hint === 'string' && failure.hint !== '') {
    lines.push(...failure.hint.split('\n').map((line) => oneLine(words(line))))
  }
  if (Array.isArray(failure.warnings)) {
    lines.push(...failure.warnings.map((warning) => `Warning: ${oneLine(words(String(warning)))}`))
  }
  return lines.join('\n')
}

export function describeRecord(record: LogRecord): string {
  return `${new Date(record.time).toISOString()} ${record.level} ${oneLine(record.message)}`
}

/** Text from elsewhere on one line, unable to steer a terminal. */
export function oneLine(text: string): string {
  return text.replace(
    // oxlint-disable-next-line no-control-regex -- they are what is looked for.
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/gu,
    (char) =>
      ({ '\n': '\\n', '\r': '\\r', '\t': '\\t' })[char] ??
      `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

const OPTION_NAMES: ReadonlyArray<readonly [option: string, meaning: Meaning]> = [
  ['tls.caFile', 'caFile'],
  ['authorizerName', 'authorizerName'],
  ['tokenKeyName', 'tokenKeyName'],
  ['tokenValue', 'tokenValue'],
  ['tokenSignature', 'tokenSignature'],
  ['clientId', 'clientId'],
  ['mqttVersion', 'mqttVersion'],
]

function withFlagNames(text: string, sample: Sample): string {
  let named = text
  for (const [option, meaning] of OPTION_NAMES) {
    const flag = flagFor(meaning, sample)
    if (flag !== undefined) named = named.replaceAll(option, `--${flag.name}`)
  }
  return named
}
