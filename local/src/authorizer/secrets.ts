import { inspect } from 'node:util'
import type { AuthorizerEvent } from './authorizer-event'
import { Needles } from './needles'
import { AUTHORIZER_NAME, decodePercent } from './user-name'

export const MASK = '***'
const ALL_HIDDEN = '(hidden)'
/** A shorter one hides nothing from anybody, and looking for it would take every text apart. */
const SHORTEST_WITHIN_TEXT = 3
const SHORTEST_PART = 4
/** The client chooses how much there is to look for. */
const MAX_LENGTH = 32 * 1024
const LENGTH_OF_ONE = 8

/**
 * What a client gave to be authenticated by. A handler may put it into its error, its answer or what it prints; events
 * and CONNACK reasons must not repeat it. The user name before its "?" and the client id are no secrets.
 */
export class Secrets {
  /** Undefined if there is too much to look for. */
  readonly #texts: ReadonlySet<string> | undefined
  #needles: Needles | undefined

  constructor(event: AuthorizerEvent) {
    this.#texts = collect(event)
  }

  hide(text: string): string {
    if (this.#texts === undefined) return ALL_HIDDEN
    if (this.#texts.has(text)) return MASK
    this.#needles ??= new Needles([...this.#texts].filter(({ length }) => length >= SHORTEST_WITHIN_TEXT))
    return this.#needles.replaceIn(text, MASK)
  }

  /** The same for all that is in a JSON value, names of members included. */
  hideIn(value: unknown): unknown {
    if (this.#texts === undefined) return ALL_HIDDEN
    if (typeof value === 'string') return this.hide(value)
    if (Array.isArray(value)) return value.map((item) => this.hideIn(item))
    if (typeof value === 'object' && value !== null) {
      return Object.fromEntries(
        Object.entries(value).map(([key, item]) => [this.hide(key), this.hideIn(item)]),
      )
    }
    return value !== null && this.#texts.has(String(value)) ? MASK : value
  }
}

/** The same text with its parameters' values masked, save the authorizer's name. */
export const maskParameters = (text: string): string =>
  text.replace(/([?&])([^?&=]*)(=[^?&]*)?/gu, (whole, mark: string, key: string, value?: string) => {
    if (value === undefined) return key === '' ? whole : `${mark}${MASK}`
    return key.toLowerCase() === AUTHORIZER_NAME ? whole : `${mark}${key}=${MASK}`
  })

/** One that every client sends, or that names the authorizer; by lower-case name. */
export const isPlainHeader = (name: string): boolean => PLAIN_HEADER.test(name)

const PLAIN_HEADER = new RegExp(
  `^(${AUTHORIZER_NAME}|host|upgrade|connection|origin|user-agent|pragma|cache-control|content-length|` +
    'accept(-.*)?|sec-(websocket|fetch)-.*)$',
)

function collect(event: AuthorizerEvent): Set<string> | undefined {
  const texts = new Set<string>()
  let length = 0
  const seen = new Set<string>()
  for (const secret of secretsOf(event)) {
    if (seen.has(secret)) continue
    seen.add(secret)
    for (const text of asShown(secret)) {
      if (text === '' || texts.has(text)) continue
      texts.add(text)
      length += text.length + LENGTH_OF_ONE
      if (length > MAX_LENGTH) return undefined
    }
  }
  return texts
}

function* secretsOf({ token, protocolData: { mqtt, http } }: AuthorizerEvent): Generator<string> {
  if (token !== undefined) yield token
  if (mqtt?.password !== undefined) {
    yield mqtt.password
    yield Buffer.from(mqtt.password, 'base64').toString()
  }
  yield* secretParameters(mqtt?.username ?? '')
  yield* secretParameters(http?.queryString ?? '')
  for (const [name, value] of Object.entries(http?.headers ?? {})) {
    if (!isPlainHeader(name)) yield* secretHeader(name, value)
  }
}

/** Token and signature, as they were written and as they are read. */
function* secretParameters(text: string): Generator<string> {
  for (const parameter of new Set(text.split(/[?&]/).slice(1))) {
    const [, key = '', value = parameter] = /^([^=]*)=(.*)$/s.exec(parameter) ?? []
    if (key.toLowerCase() !== AUTHORIZER_NAME)
      yield* [value, decodePercent(value), decodePercent(value.replaceAll('+', ' '))]
  }
}

/** The value and what handlers take out of it: a bearer token, a cookie, the pair of user and password. */
function* secretHeader(name: string, value: string): Generator<string> {
  yield value
  // The scheme of `Bearer <token>` is none.
  const credentials = /^(proxy-)?authorization$/.test(name) ? value.replace(/^\s*[\w-]+\s+/, '') : value
  for (const part of credentials.split(/[\s;,]+/)) {
    const unpadded = part.replace(/=*$/, '')
    // In `sid=<value>` the name is none.
    const inner = unpadded.slice(unpadded.indexOf('=') + 1)
    const padded = part.slice(unpadded.length - inner.length)
    const bare = inner.replace(/^"(.*)"$/, '$1')
    for (const secret of [part, padded, inner, bare, decodePercent(bare)]) {
      if (secret.length >= SHORTEST_PART) yield secret
    }
  }
  const [, pair] = /^\s*basic\s+(\S+)/i.exec(value) ?? []
  if (pair === undefined) return
  const decoded = Buffer.from(pair, 'base64').toString()
  yield decoded
  const colon = decoded.indexOf(':')
  if (colon >= 0) yield* [decoded.slice(0, colon), decoded.slice(colon + 1)]
}

/** As it is, line by line, as JSON and `console.log` write it within an object, and as a number. */
function* asShown(secret: string): Generator<string> {
  for (const text of [secret, ...secret.split('\n')]) {
    yield text
    yield JSON.stringify(text).slice(1, -1)
    yield inspect(text, { breakLength: Infinity, maxStringLength: Infinity }).slice(1, -1)
  }
  const number = Number(secret)
  if (secret.trim() !== '' && Number.isFinite(number)) yield String(number)
}
