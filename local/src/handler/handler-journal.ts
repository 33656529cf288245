import type { Journal } from '../events'
import { shorten } from '../shorten'
import type { HandlerOutput } from './handler'

/** Which connection a call is for. */
export interface CallSubject {
  connectionId: string
  clientId?: string
}

type Hide = (text: string) => string

/** Handlers print late; the secrets of this many calls are looked for in what cannot be told to be of one call. */
const REMEMBERED_CALLS = 20
const MAX_WARNINGS = 100
const MAX_STACK_LINES = 10
const MAX_STACK_LENGTH = 4096

/** What one authorizer's handler does beside answering, as events without secrets. */
export class HandlerJournal {
  readonly #authorizerName: string
  readonly #journal: Journal
  readonly #recent: Hide[] = []
  readonly #warned = new Set<string>()

  constructor(authorizerName: string, journal: Journal) {
    this.#authorizerName = authorizerName
    this.#journal = journal
  }

  /** For what is printed during a call; `hide` takes that call's secrets out of a text. */
  callLog(subject: CallSubject, hide: Hide): HandlerOutput {
    this.#recent.push(hide)
    if (this.#recent.length > REMEMBERED_CALLS) this.#recent.shift()
    const { connectionId, clientId } = subject
    return (stream, text) =>
      this.#output(stream, text, { connectionId, ...(clientId !== undefined && { clientId }) }, hide)
  }

  output(stream: 'stdout' | 'stderr', text: string): void {
    this.#output(stream, text, {})
  }

  reloaded(files: string[]): void {
    this.#warned.clear()
    this.#journal.record({ type: 'handler-reloaded', authorizerName: this.#authorizerName, files })
  }

  warn(message: string, stack?: string): void {
    this.#journal.record({
      type: 'warning',
      authorizerName: this.#authorizerName,
      message: this.#hide(message),
      ...(stack !== undefined && { stack: shortenStack(this.#hide(stack)) }),
    })
  }

  /** What would be said at every connection is said once, and again after a reload. */
  warnOnce(message: string, subject: CallSubject): void {
    if (this.#warned.has(message) || this.#warned.size >= MAX_WARNINGS) return
    this.#warned.add(message)
    this.#journal.record({ type: 'warning', ...subject, authorizerName: this.#authorizerName, message })
  }

  #output(stream: 'stdout' | 'stderr', text: string, subject: Partial<CallSubject>, own?: Hide): void {
    const authorizerName = this.#authorizerName
    const shown = this.#hide(text, own)
    this.#journal.record({ type: 'handler-log', ...subject, authorizerName, stream, text: shown })
  }

  /** `own` belongs to the call that the text is of, which may be one that is remembered no more. */
  #hide(text: string, own?: Hide): string {
    const hides = new Set(own === undefined ? this.#recent : [own, ...this.#recent])
    return [...hides].reduce((hidden, hide) => hide(hidden), text)
  }
}

/** Only what secrets were taken out of: half a secret would not be recognized. */
export function shortenStack(stack: string): string {
  return shorten(stack.split('\n').slice(0, MAX_STACK_LINES).join('\n'), MAX_STACK_LENGTH)
}
