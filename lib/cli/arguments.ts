import { FLAGS, findLong, findShort, nearest, type Flag } from './flags.js'

/** What is wrong with a command line. Its text never holds a value, which may be a secret. */
export class UsageError extends Error {
  readonly hint: string

  constructor(message: string, hint = 'Run with --help to see every flag.') {
    super(message)
    this.hint = hint
  }
}

/** The flags that were given, each with its text. A switch has 'true' or 'false'. */
export type Arguments = ReadonlyMap<Flag, string>

/** Whether this switch stands anywhere, however wrong the rest may be. */
export function asksFor(name: 'help' | 'version', argv: readonly string[]): boolean {
  const { short } = FLAGS.find((flag) => flag.name === name)!
  return argv.some((word) => word === `--${name}` || (short !== undefined && word === `-${short}`))
}

/** The same for `--json`, which takes a value too. */
export function asksForJson(argv: readonly string[]): boolean {
  return argv.some((word, at) => word === '--json=true' || (word === '--json' && argv[at + 1] !== 'false'))
}

/**
 * Reads `--flag value`, `--flag=value`, `-f value`, `-f=value` and `-fvalue`.
 *
 * @throws {UsageError} for an unknown flag, one without its value or given twice, and for a word that is no flag.
 */
export function parseArguments(argv: readonly string[], command?: 'diagnose'): Arguments {
  const given = new Map<Flag, string>()
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at]!
    const { flag, written, attached } = readFlag(word, at)
    if (given.has(flag)) {
      throw new UsageError(`--${flag.name} is given twice.`, 'Give it once, in its long or its short form.')
    }
    let value = attached
    if (value === undefined) {
      const next = argv[at + 1]
      if (isValueOf(flag, next)) {
        value = next
        at++
      } else if (flag.value === undefined) {
        value = 'true'
      } else {
        throw new UsageError(
          `${written} needs a value.`,
          `A value that begins with a dash is written --${flag.name}=<value>.`,
        )
      }
    }
    if (flag.command !== undefined && flag.command !== command) {
      throw new UsageError(
        `--${flag.name} belongs to ${flag.command}.`,
        `Write custom-authorizer-connect ${flag.command} --${flag.name} ...`,
      )
    }
    // A diagnosis only subscribes to it.
    if (command === undefined || flag.meaning !== 'topic') check(flag, value!)
    given.set(flag, value!)
  }
  return given
}

interface FlagWord {
  flag: Flag
  /** The flag as it was written, without its value. */
  written: string
  attached?: string
}

function readFlag(word: string, at: number): FlagWord {
  const [, dashes = '', name = '', attached] = /^(--?)([^=]+)(?:=(.*))?$/su.exec(word) ?? []
  if (dashes === '' || name.startsWith('-')) {
    const isCommand = /^diagn/iu.test(word)
    throw new UsageError(
      `Argument ${at + 1} is not a flag.`,
      isCommand
        ? 'The word diagnose is written so, and comes first.'
        : 'Every value follows its flag; one that holds spaces needs quotes.',
    )
  }
  const flag = dashes === '--' ? findLong(name) : findShort(name[0]!)
  const oneDashShort = dashes === '-' && name.length > 1
  if (dashes === '-' && name.length > 2 && findLong(name) !== undefined) {
    throw new UsageError(`Unknown flag -${name}.`, `Did you mean --${findLong(name)!.name}?`)
  }
  if (flag === undefined || (oneDashShort && flag.value === undefined)) {
    const unknown = dashes === '--' ? plainName(name) : name[0]!
    throw new UsageError(
      `Unknown flag ${dashes}${unknown}.`,
      `Did you mean ${nearest(unknown)}? Run with --help to see every flag.`,
    )
  }
  if (oneDashShort) return { flag, written: `-${name[0]}`, attached: word.slice(2).replace(/^=/u, '') }
  return { flag, written: `${dashes}${name}`, ...(attached !== undefined && { attached }) }
}

/** `-` is standard input and `-1` is a number, but any other word with a dash is the next flag. */
function isValueOf(flag: Flag, word: string | undefined): boolean {
  if (word === undefined) return false
  if (flag.value === undefined) return word === 'true' || word === 'false'
  return !/^-[^\d]/u.test(word)
}

function check(flag: Flag, value: string): void {
  const bad = (expected: string) => new UsageError(`--${flag.name} must be ${expected}.`)
  if (flag.value === undefined) {
    if (value !== 'true' && value !== 'false') throw bad('true or false, or have no value')
    return
  }
  if (value === '') return
  if (flag.choices !== undefined && !flag.choices.includes(value)) {
    if (flag.meaning === 'mqttVersion') throw bad('3 or 5, where 3 means MQTT 3.1.1')
    throw bad(`one of ${flag.choices.join(', ')}`)
  }
  if (flag.meaning === 'topic' && /[+#]/u.test(value)) {
    throw new UsageError(
      `--${flag.name} must not hold the wildcards + and #.`,
      'Messages are published to it.',
    )
  }
  if (flag.range !== undefined) {
    const [min, max] = flag.range
    const number = /^\d+$/u.test(value) ? Number(value) : Number.NaN
    if (!(number >= min && number <= max)) {
      throw bad(
        max === Number.MAX_SAFE_INTEGER
          ? `a whole number from ${min}`
          : `a whole number from ${min} to ${max}`,
      )
    }
  }
}

/** A mistyped name is worth showing; what does not look like a name may be a secret that lost its flag. */
function plainName(name: string): string {
  return /^[A-Za-z][\w-]{0,39}$/u.test(name) ? name : '...'
}
