/** The user name of an MQTT CONNECT, taken apart as IoT Core does. */
export interface ParsedUserName {
  /** What stands before the parameters. */
  base: string
  parameters: Parameters
}

/** How keys and values are decoded: once, where `form` reads `+` as a space; or not at all. */
export type Decoding = 'form' | 'percent' | 'none'

/** Query parameters by lower-case key. */
export type Parameters = ReadonlyMap<string, string>

export const AUTHORIZER_NAME = 'x-amz-customauthorizer-name'
export const AUTHORIZER_SIGNATURE = 'x-amz-customauthorizer-signature'

/** The parameters are what follows the LAST question mark. */
export function parseUserName(userName: string, decoding: Decoding = 'form'): ParsedUserName {
  const mark = userName.lastIndexOf('?')
  if (mark < 0) return { base: userName, parameters: new Map() }
  return { base: userName.slice(0, mark), parameters: parseParameters(userName.slice(mark + 1), decoding) }
}

/** `key=value&key=value`; the first `=` splits, and of two equal keys the first one counts. */
export function parseParameters(text: string, decoding: Decoding = 'form'): Parameters {
  const parameters = new Map<string, string>()
  for (const item of text.split('&')) {
    if (item === '') continue
    const equals = item.indexOf('=')
    const key = decode(equals < 0 ? item : item.slice(0, equals), decoding).toLowerCase()
    const value = equals < 0 ? '' : decode(item.slice(equals + 1), decoding)
    if (!parameters.has(key)) parameters.set(key, value)
  }
  return parameters
}

function decode(text: string, decoding: Decoding): string {
  if (decoding === 'none') return text
  return decodePercent(decoding === 'form' ? text.replaceAll('+', ' ') : text)
}

/** Text that is no valid encoding stays as it is. */
export function decodePercent(text: string): string {
  // An exception is dear, and a client can send 30,000 reasons for one in a CONNECT.
  if (/%(?![\da-f]{2})/i.test(text)) return text
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
