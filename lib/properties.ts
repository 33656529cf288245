// What a message of MQTT 5 says about itself, to the addon and back.
import { types } from 'node:util'
import type { MessageProperties, PublishProperties, UserProperties } from '../index.js'
import { invalidOption } from './errors.js'
import type { NativeProperties } from './native.js'

const NONE: NativeProperties = { userProperties: [] }
const NAMES = ['contentType', 'responseTopic', 'correlationData', 'userProperties', 'payloadFormat']

/** Checks names and types; the addon checks what the values mean. `prefix` is what the user calls them. */
export function nativeProperties(given: PublishProperties | undefined, prefix: string): NativeProperties {
  if (given === undefined) return NONE
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw invalidOption(`${prefix} must be an object`)
  }
  for (const name of Object.keys(given)) {
    if (!NAMES.includes(name)) {
      throw invalidOption(
        `there is no property ${prefix}.${JSON.stringify(name)}`,
        `The properties are: ${NAMES.join(', ')}.`,
      )
    }
  }
  const { contentType, responseTopic, correlationData, payloadFormat } = given
  for (const [name, value] of Object.entries({ contentType, responseTopic })) {
    if (value !== undefined && typeof value !== 'string') throw mistyped(`${prefix}.${name}`, 'a string')
  }
  if (
    correlationData !== undefined &&
    typeof correlationData !== 'string' &&
    !types.isUint8Array(correlationData)
  ) {
    throw mistyped(`${prefix}.correlationData`, 'a string or a Uint8Array')
  }
  if (payloadFormat !== undefined && payloadFormat !== 'bytes' && payloadFormat !== 'utf8') {
    throw mistyped(`${prefix}.payloadFormat`, "'bytes' or 'utf8'")
  }
  return {
    ...(contentType !== undefined && { contentType }),
    ...(responseTopic !== undefined && { responseTopic }),
    ...(correlationData !== undefined && { correlationData: Buffer.from(correlationData as Uint8Array) }),
    ...(payloadFormat !== undefined && { payloadFormat: payloadFormat === 'utf8' ? 1 : 0 }),
    userProperties: flatPairs(given.userProperties, `${prefix}.userProperties`),
  }
}

/** Key, value, key, value. */
export function flatPairs(given: UserProperties | undefined, name: string): string[] {
  if (given === undefined) return []
  if (typeof given !== 'object' || given === null) {
    throw mistyped(name, 'an object, or an array of pairs')
  }
  const pairs: unknown[][] = Array.isArray(given)
    ? (given as unknown[][])
    : Object.entries(given).flatMap(([key, value]) =>
        Array.isArray(value) ? value.map((each: unknown) => [key, each]) : [[key, value]],
      )
  const isPair = (pair: unknown) =>
    Array.isArray(pair) && pair.length === 2 && pair.every((each) => typeof each === 'string')
  if (!pairs.every(isPair)) throw mistyped(name, 'made of strings, in pairs')
  return pairs.flat() as string[]
}

export function messageProperties(native: NativeProperties): MessageProperties {
  const { payloadFormat, messageExpirySeconds, contentType, responseTopic, correlationData } = native
  const userProperties: [string, string][] = []
  for (let at = 0; at + 1 < native.userProperties.length; at += 2) {
    userProperties.push([native.userProperties[at]!, native.userProperties[at + 1]!])
  }
  return {
    ...(contentType !== undefined && { contentType }),
    ...(responseTopic !== undefined && { responseTopic }),
    ...(correlationData !== undefined && { correlationData }),
    ...(payloadFormat !== undefined && { payloadFormat: payloadFormat === 1 ? 'utf8' : 'bytes' }),
    ...(messageExpirySeconds !== undefined && { expirySeconds: messageExpirySeconds }),
    userProperties,
  }
}

function mistyped(name: string, expected: string): Error {
  return invalidOption(`${name} must be ${expected}`)
}
