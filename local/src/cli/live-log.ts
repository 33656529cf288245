import type { HandlerInvocation } from '../authorizer'
import type { LocalEvent } from '../events'
import { readEvent } from './log-format'
import { maskAnswer, maskEvent } from './mask'
import type { Paint } from './paint'

export interface LogOptions {
  json: boolean
  redact: boolean
  paint: Paint
  write: (text: string) => void
}

const INDENT = '    '

/** What happens, as it happens: for people, or a JSON object a line. */
export class LiveLog {
  readonly #options: LogOptions
  /** Short numbers in place of ids. */
  readonly #numbers = new Map<string, number>()
  #count = 0
  #calls: readonly HandlerInvocation[] = []

  constructor(options: LogOptions) {
    this.#options = options
  }

  /** Where the calls of handlers are to be found. */
  watch(calls: readonly HandlerInvocation[]): void {
    this.#calls = calls
  }

  record(event: LocalEvent): void {
    // Its event and its answer come first: they are what the verdict is about.
    if (event.type === 'authorizer-answered') this.#showCall(event)
    if (this.#options.json) this.#writeJson(event)
    else this.#writeText(event)
    if (event.type === 'disconnected' || event.type === 'connect-refused') {
      this.#numbers.delete(event.connectionId)
    }
  }

  #showCall(event: LocalEvent): void {
    const connectionId = connectionOf(event)
    const call = this.#calls.findLast(({ event: given }) => given.connectionMetadata.id === connectionId)
    if (call === undefined) return
    const { redact, json } = this.#options
    const given = redact ? maskEvent(call.event) : call.event
    const answer = redact ? maskAnswer(call.response, call.event) : call.response
    if (json) {
      this.#writeJson({
        type: 'invocation',
        time: event.time,
        connectionId,
        authorizerName: call.authorizer,
        event: given,
        ...(answer !== undefined && { response: answer }),
      })
      return
    }
    this.#write(event, 'strong', `authorizer ${call.authorizer} got`, pretty(given))
    if (answer !== undefined) {
      this.#write(event, 'strong', `authorizer ${call.authorizer} answered`, pretty(answer))
    }
  }

  #writeText(event: LocalEvent): void {
    const { tone, line, details = [] } = readEvent(event)
    this.#write(event, tone, line, details)
  }

  #write(event: LocalEvent, tone: Parameters<Paint>[0], line: string, details: readonly string[]): void {
    const { paint, write } = this.#options
    const connectionId = connectionOf(event)
    const clientId = 'clientId' in event ? event.clientId : undefined
    const who = [connectionId ? `#${this.#number(connectionId)}` : '', clientId ?? ''].filter(Boolean)
    const head = [paint('quiet', new Date(event.time).toISOString().slice(11, 23)), ...who, paint(tone, line)]
    write([head.join(' '), ...details.map((detail) => INDENT + paint('quiet', detail))].join('\n') + '\n')
  }

  #writeJson(entry: object): void {
    this.#options.write(`${JSON.stringify(entry)}\n`)
  }

  #number(connectionId: string): number {
    let number = this.#numbers.get(connectionId)
    if (number === undefined) this.#numbers.set(connectionId, (number = ++this.#count))
    return number
  }
}

const connectionOf = (event: LocalEvent): string | undefined =>
  'connectionId' in event ? event.connectionId : undefined

const pretty = (value: unknown): string[] => (JSON.stringify(value, null, 2) ?? 'nothing').split('\n')
