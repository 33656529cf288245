import type { HandlerInvocation } from '../authorizer/authorizer'
import type { LocalEvent } from '../events'
import { readEvent, type Reading } from './log-format'
import { showInvocation } from './mask'
import type { Paint } from './paint'
import { jsonLine, printable, printableLines } from './printable'

export interface LogOptions {
  json: boolean
  redact: boolean
  /** Without the event that a handler gets, and its answer. */
  quiet: boolean
  paint: Paint
  write: (text: string) => void
}

interface Subject {
  time: number
  connectionId?: string | undefined
  clientId?: string | undefined
}

/** Below the time's column. */
const INDENT = ' '.repeat(14)
const NUMBER_WIDTH = 4
const MAX_CLIENT_WIDTH = 24
/** A handler may print long after its connection has gone, and is still shown with its number. */
const REMEMBERED_NUMBERS = 100_000

/** What happens, as it happens: a block for each thing, or a JSON object a line. */
export class LiveLog {
  readonly #options: LogOptions
  /** Short numbers in place of ids. */
  readonly #numbers = new Map<string, number>()
  #count = 0
  /** What happened before a program could read where to connect. */
  #early: string[] | undefined
  #clientWidth = 8

  constructor(options: LogOptions) {
    this.#options = options
    if (options.json) this.#early = []
  }

  /** As JSON nothing is written before this, so that `first` is the first line. */
  open(first?: object): void {
    const early = this.#early ?? []
    this.#early = undefined
    if (first !== undefined) this.#writeJson(first)
    for (const line of early) this.#options.write(line)
  }

  event(event: LocalEvent): void {
    if (this.#options.json) this.#writeJson(event)
    else this.#writeBlock(event, readEvent(event))
  }

  /** Called when the handler is called and when it has ended; why it failed is said by the event that follows. */
  invocation(invocation: HandlerInvocation): void {
    const { authorizer, event: given } = invocation
    const ended = 'response' in invocation || invocation.error !== undefined
    const { redact, json, quiet } = this.#options
    if (quiet) return
    const shown = showInvocation(invocation, redact)
    const subject: Subject = {
      time: Date.now(),
      connectionId: given.connectionMetadata.id,
      clientId: given.protocolData.mqtt?.clientId,
    }
    if (json) {
      if (ended) this.#writeJson({ type: 'invocation', ...subject, authorizerName: authorizer, ...shown })
    } else if (!ended) {
      this.#writeBlock(subject, {
        tone: 'strong',
        line: `authorizer ${authorizer} is called with`,
        details: [pretty(shown.event)],
      })
    } else if ('response' in shown) {
      this.#writeBlock(subject, {
        tone: 'strong',
        line: `authorizer ${authorizer} answers`,
        details: [pretty(shown.response)],
      })
    }
  }

  #writeJson(entry: object): void {
    const line = `${jsonLine(entry)}\n`
    if (this.#early === undefined) this.#options.write(line)
    else this.#early.push(line)
  }

  #writeBlock({ time, connectionId, clientId = '' }: Subject, { tone, line, details = [] }: Reading): void {
    const { paint, write } = this.#options
    const number = connectionId === undefined ? '' : `#${this.#number(connectionId)}`
    const client = printable(clientId)
    this.#clientWidth = Math.min(Math.max(this.#clientWidth, client.length), MAX_CLIENT_WIDTH)
    const head = [
      paint('quiet', clockTime(time)),
      `${number.padEnd(NUMBER_WIDTH)} ${client.padEnd(this.#clientWidth)}`,
      paint(tone, printable(line)),
    ].join('  ')
    const below = details
      .filter((detail) => detail !== undefined)
      .flatMap(printableLines)
      .map((detail) => INDENT + paint('quiet', detail))
    write(`${[head, ...below].join('\n')}\n`)
  }

  #number(connectionId: string): number {
    let number = this.#numbers.get(connectionId)
    if (number === undefined) {
      if (this.#numbers.size >= REMEMBERED_NUMBERS) {
        const [oldest] = this.#numbers.keys()
        this.#numbers.delete(oldest!)
      }
      this.#numbers.set(connectionId, (number = ++this.#count))
    }
    return number
  }
}

/** Of the day, where the developer is. */
function clockTime(time: number): string {
  const date = new Date(time)
  const two = (value: number): string => String(value).padStart(2, '0')
  const milliseconds = String(date.getMilliseconds()).padStart(3, '0')
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${milliseconds}`
}

const pretty = (value: unknown): string => JSON.stringify(value, null, 2) ?? 'nothing'
