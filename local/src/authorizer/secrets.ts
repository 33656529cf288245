import type { AuthorizerEvent } from './authorizer-event'
import { AUTHORIZER_NAME } from './user-name'

/**
 * A handler may put what it was given into its error or answer; events and CONNACK reasons must not repeat secrets.
 * The user name before its "?" and the client id are none.
 */
export function concealSecrets(message: string, event: AuthorizerEvent): string {
  const {
    token,
    protocolData: { mqtt, http },
  } = event
  const password = mqtt?.password
  const secrets = [
    token,
    password,
    password && Buffer.from(password, 'base64').toString(),
    ...secretParameters(mqtt?.username ?? ''),
    ...secretParameters(http?.queryString ?? ''),
    ...secretHeaders(http?.headers ?? {}),
  ]
  // The longest first: one may be part of another.
  secrets.sort((a, b) => (b?.length ?? 0) - (a?.length ?? 0))
  return secrets.flatMap(asShown).reduce(conceal, message)
}

/** The same text with its parameters' values masked, save the authorizer's name. */
export const maskParameters = (text: string): string =>
  text.replace(/([?&])([^?&=]*)(=[^?&]*)?/gu, (whole, mark: string, key: string, value?: string) => {
    if (value === undefined) return key === '' ? whole : `${mark}***`
    return key.toLowerCase() === AUTHORIZER_NAME ? whole : `${mark}${key}=***`
  })

/** As it is, and as JSON escapes it. */
const asShown = (secret: string | undefined): string[] =>
  secret ? [secret, JSON.stringify(secret).slice(1, -1)] : []

/** Token and signature, as they were written and as they are read. */
function secretParameters(username: string): string[] {
  return username
    .split(/[?&]/)
    .slice(1)
    .flatMap((parameter) => {
      const [, key = '', value = parameter] = /^([^=]*)=(.*)$/s.exec(parameter) ?? []
      return key.toLowerCase() === AUTHORIZER_NAME ? [] : [value, decode(value)]
    })
}

/** Any header may carry a secret, save those that every client sends. */
const secretHeaders = (headers: Record<string, string>): string[] =>
  Object.entries(headers).flatMap(([name, value]) => (isPlainHeader(name) ? [] : [value]))

/** One that every client sends, or that names the authorizer; by lower-case name. */
export const isPlainHeader = (name: string): boolean => PLAIN_HEADER.test(name)

const PLAIN_HEADER = new RegExp(
  `^(${AUTHORIZER_NAME}|host|upgrade|connection|origin|user-agent|pragma|cache-control|content-length|` +
    'accept(-.*)?|sec-(websocket|fetch)-.*)$',
)

function decode(value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    return value
  }
}

/** Long answers are shown up to an ellipsis, which may cut a secret short. */
function conceal(text: string, secret: string): string {
  let concealed = text.replaceAll(secret, '***')
  if (!concealed.includes('...')) return concealed
  for (let length = Math.min(secret.length, 77) - 1; length > 2; length--) {
    concealed = concealed.replaceAll(`${secret.slice(0, length)}...`, '***...')
  }
  return concealed
}
