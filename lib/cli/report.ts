import type { LogRecord } from '../../index.js'
import { UsageError } from './arguments.js'
import { flagFor, type Meaning, type Sample } from './flags.js'
import { wrap } from './wrap.js'

const WIDTH = 100
/** What stands before the rest of an item in a list. */
const ITEM = ' '.repeat(5)

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
  cause?: unknown
  reasonString?: unknown
  warnings?: unknown
}

/**
 * A failure as lines for a person: code, stage and message in the first, the server's own words and what to look at next
 * below it. Options are called by the flags of the sample. Warnings that were `told` already are left out.
 */
export function describeFailure(
  error: unknown,
  sample: Sample,
  told: ReadonlySet<string> = new Set(),
): string {
  const failure: Failure = error instanceof Error ? error : { message: String(error) }
  const usage = error instanceof UsageError
  const code = usage ? 'ERR_INVALID_OPTION' : typeof failure.code === 'string' ? failure.code : 'ERR_INTERNAL'
  const stage = usage ? 'options' : typeof failure.stage === 'string' ? failure.stage : 'operation'
  const words = (text: string) => (usage ? text : withFlagNames(text, sample))

  const lines = [`${code} (${stage}): ${oneLine(words(failure.message))}`]
  if (typeof failure.reasonString === 'string' && failure.reasonString !== '') {
    lines.push(`The server says: ${oneLine(failure.reasonString)}`)
  }
  const cause = causeOf(failure)
  if (cause !== '') lines.push(`Cause: ${oneLine(cause)}`)
  if (typeof failure.hint === 'string' && failure.hint !== '') {
    lines.push(...hintLines(words(failure.hint)))
  }
  if (Array.isArray(failure.warnings)) {
    const untold = failure.warnings.map(String).filter((warning) => !told.has(warning))
    lines.push(...untold.map((warning) => describeWarning(warning, sample)))
  }
  return lines.join('\n')
}

/** What the system or the network said, where that is a sentence of its own, or the hint speaks of it. */
function causeOf({ message, hint, cause }: Failure): string {
  if (!(cause instanceof Error) || message.includes(cause.message)) return ''
  return cause.message.includes(' ') || /\bcause\b/iu.test(String(hint)) ? cause.message : ''
}

/** Something suspicious in what was given. */
export function describeWarning(warning: string, sample: Sample): string {
  return `Warning: ${oneLine(withFlagNames(warning, sample))}`
}

export function describeRecord(record: LogRecord, sample: Sample): string {
  const message = record.level === 'warn' ? withFlagNames(record.message, sample) : record.message
  return `${new Date(record.time).toISOString()} ${record.level} ${oneLine(message)}`
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

const OPTION_FLAGS: Readonly<Record<string, Meaning>> = {
  'tls.caFile': 'caFile',
  'tls.ca': 'caFile',
  authorizerName: 'authorizerName',
  tokenKeyName: 'tokenKeyName',
  tokenValue: 'tokenValue',
  tokenSignature: 'tokenSignature',
  clientId: 'clientId',
  mqttVersion: 'mqttVersion',
  endpoint: 'endpoint',
  port: 'port',
  username: 'username',
  password: 'password',
  proxy: 'proxyHost',
  topic: 'topic',
  takeOver: 'takeOver',
  probePublish: 'probePublish',
  publicKey: 'publicKey',
}

/** What the command line has no flag for is not worth a sentence. */
const WITHOUT_FLAG =
  / \(or tokenSigningKey\)| tls\.ca takes the text\.| 404: check websocket\.path\.| [^.]*\b(?:connectTimeoutMs|keepAliveSeconds)\b[^.]*\.$/gu

const TRANSPORT = /\btransport: '(tls|websocket)'/gu

/** Option names, with the colon before their value; those that are words too, where they stand as an option. */
const OPTION_NAME =
  /"(?:[^"\\]|\\.)*"|\b(tls\.ca(?:File)?(?: or tls\.caFile)?|authorizerName|token(?:KeyName|Value|Signature)|clientId|mqttVersion|takeOver|probePublish|publicKey)\b(?:: (?=\d))?|(?<=^|: |; )(endpoint|port|username|password|topic)(?= (?:must|takes|is|with)\b)|(?:the option `?|(?<=\bSet ))(port|username|password|proxy)\b`?|\b(username): (?=')/gu

/** What stands in double quotes is a value, and stays as it is. */
export function withFlagNames(text: string, sample: Sample): string {
  const named = text.replace(WITHOUT_FLAG, '').replace(TRANSPORT, '--transport $1')
  return named.replace(OPTION_NAME, (found: string, ...groups: unknown[]) => {
    const name = groups.slice(0, 4).find((group) => group !== undefined) as string | undefined
    const meaning = OPTION_FLAGS[name?.split(' ')[0] ?? '']
    const flag = meaning && flagFor(meaning, sample)
    if (flag === undefined) return found
    return `--${flag.name}${found.endsWith(' ') ? ' ' : ''}`
  })
}

/** Lines of a width that can be read; what a hint counts up gets a line an item, and hangs below its number. */
export function hintLines(hint: string): string[] {
  return hint.split('\n').flatMap((line) => {
    const [, lead, items, rest] = /^(.*?:) ((?:[^;]+; ){2,}[^;]*?\.) (.+)$/su.exec(line) ?? []
    if (lead === undefined) return wrap(oneLine(line), WIDTH)
    const numbered = items!.slice(0, -1).split('; ').flatMap(itemLines)
    return wrap(oneLine(lead), WIDTH).concat(numbered, wrap(oneLine(rest!), WIDTH))
  })
}

function itemLines(item: string, index: number): string[] {
  const lines = wrap(oneLine(item), WIDTH - ITEM.length)
  return lines.map((line, at) => (at === 0 ? `  ${index + 1}. ` : ITEM) + line)
}
