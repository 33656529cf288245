import type { IPublishPacket } from 'mqtt-packet'
import type { Limits } from '../limits'
import { MALFORMED_PACKET, PROTOCOL_ERROR, ProtocolError } from '../connection/protocol-error'

/** An application message inside the broker. */
export interface Message {
  topic: string
  payload: Buffer
  qos: 0 | 1
  /** As it was published; whether a delivery carries the flag is decided for each subscription. */
  retain: boolean
  properties: MessageProperties
  /** Milliseconds since the epoch. */
  expiresAt?: number
  /** Who published it, for No Local. */
  publisher?: object
}

/** What a client gives to be published: a PUBLISH, or the Will of its CONNECT. */
export interface Publication extends Omit<Message, 'expiresAt' | 'publisher'> {
  /** MQTT 5 Message Expiry Interval; runs from the moment of publishing. */
  expirySeconds?: number
}

/** What travels with a message from an MQTT 5 publisher to an MQTT 5 subscriber. */
export type MessageProperties = Pick<
  NonNullable<IPublishPacket['properties']>,
  'payloadFormatIndicator' | 'contentType' | 'responseTopic' | 'correlationData' | 'userProperties'
>

export function createMessage(
  { expirySeconds, ...publication }: Publication,
  now: number,
  publisher?: object,
): Message {
  return {
    ...publication,
    ...(expirySeconds !== undefined && { expiresAt: now + expirySeconds * 1000 }),
    ...(publisher !== undefined && { publisher }),
  }
}

/** What queueing a message costs beside its payload and topic; a guess that keeps counts bounded. */
const OVERHEAD_BYTES = 256

export const messageBytes = ({ topic, payload }: Message): number =>
  payload.length + topic.length + OVERHEAD_BYTES

export const isExpired = ({ expiresAt }: Message, now: number): boolean =>
  expiresAt !== undefined && expiresAt <= now

/** The seconds that Message Expiry Interval may still say, at least 1. */
export const remainingExpiry = (expiresAt: number, now: number): number =>
  Math.max(1, Math.ceil((expiresAt - now) / 1000))

/**
 * Takes over the properties that are forwarded, and refuses those that are broken: the packet parser
 * yields null for text that ran out, and a list for a property that occurs twice.
 */
export function readMessageProperties(
  given: Record<string, unknown> | undefined,
  limits: Limits,
): Pick<Publication, 'properties' | 'expirySeconds'> {
  if (given === undefined) return { properties: {} }
  const properties: MessageProperties = {}
  const { payloadFormatIndicator, contentType, responseTopic, correlationData, userProperties } = given
  if (payloadFormatIndicator !== undefined) {
    properties.payloadFormatIndicator = expect(
      typeof payloadFormatIndicator === 'boolean',
      payloadFormatIndicator,
    )
  }
  if (contentType !== undefined) properties.contentType = expect(typeof contentType === 'string', contentType)
  if (responseTopic !== undefined)
    properties.responseTopic = expect(typeof responseTopic === 'string', responseTopic)
  if (correlationData !== undefined) {
    properties.correlationData = expect(Buffer.isBuffer(correlationData), correlationData)
  }
  if (userProperties !== undefined) properties.userProperties = readUserProperties(userProperties)

  const expiry = readNumber(given['messageExpiryInterval'], 'Message Expiry Interval')
  if (expiry === undefined) return { properties }
  return { properties, expirySeconds: Math.min(Math.max(expiry, 1), limits.messageExpirySeconds) }
}

/** A number of an MQTT 5 property; the parser yields -1 for one that ran out. */
export function readNumber(value: unknown, name: string): number | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'number' || value < 0) {
    throw new ProtocolError(PROTOCOL_ERROR, `the property ${name} is malformed or occurs twice`)
  }
  return value
}

type UserProperties = NonNullable<MessageProperties['userProperties']>

function readUserProperties(value: unknown): UserProperties {
  const isText = (v: unknown): boolean => typeof v === 'string'
  for (const [name, values] of Object.entries(value as Record<string, unknown>)) {
    const valid = Array.isArray(values) ? values.every(isText) : isText(values)
    expect(valid, [name, values])
  }
  return value as UserProperties
}

function expect<T>(valid: boolean, value: unknown): T {
  if (!valid) throw new ProtocolError(MALFORMED_PACKET, 'a property is malformed or occurs twice')
  return value as T
}
