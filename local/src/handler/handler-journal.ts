import type { Journal } from '../events'
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
      this.#output(stream, hide(text), { connectionId, ...(clientId !== undefined && { clientId }) })
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
      ...(stack !== undefined && { stack: this.#hide(shortenStack(stack)) }),
    })
  }

  /** What would be said at every connection is said once, and again after a reload. */
  warnOnce(message: string, subject: CallSubject): void {
    if (this.#warned.has(message) || this.#warned.size >= MAX_WARNINGS) return
    this.#warned.add(message)
    this.#journal.record({ type: 'warning', ...subject, authorizerName: this.#authorizerName, message })
  }

  #output(stream: 'stdout' | 'stderr', text: string, subject: Partial<CallSubject>): void {
    const authorizerName = this.#authorizerName
    this.#journal.record({ type: 'handler-log', ...subject, authorizerName, stream, text: this.#hide(text) })
  }

  #hide(text: string): string {
    return this.#recent.reduce((hidden, hide) => hide(hidden), text)
  }
}

export function shortenStack(stack: string): string {
  return stack.split('\n').slice(0, MAX_STACK_LINES).join('\n').slice(0, 4096)
}
