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
  /** The client id that published it, for No Local. Not its session, which a retained message would keep alive. */
  publisher?: string
  /** What it costs in memory. */
  bytes: number
}

/** What a client gives to be published: a PUBLISH, or the Will of its CONNECT. */
export interface Publication extends Omit<Message, 'expiresAt' | 'publisher' | 'bytes'> {
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
  publisher?: string,
): Message {
  const { topic, payload, properties } = publication
  return {
    ...publication,
    bytes: payload.length + topic.length + propertyBytes(properties) + OVERHEAD_BYTES,
    ...(expirySeconds !== undefined && { expiresAt: now + expirySeconds * 1000 }),
    ...(publisher !== undefined && { publisher }),
  }
}

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
    // A copy: the parser gives a view of the whole packet.
    properties.correlationData = Buffer.from(
      expect<Buffer>(Buffer.isBuffer(correlationData), correlationData),
    )
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

/** What a message costs beside its bytes, and so does each of its user properties; a guess that keeps counts bounded. */
const OVERHEAD_BYTES = 256
const USER_PROPERTY_BYTES = 64

function propertyBytes({
  contentType = '',
  responseTopic = '',
  correlationData = Buffer.alloc(0),
  userProperties = {},
}: MessageProperties): number {
  let bytes = contentType.length + responseTopic.length + correlationData.length
  for (const [name, values] of Object.entries(userProperties)) {
    for (const value of [values].flat()) bytes += name.length + value.length + USER_PROPERTY_BYTES
  }
  return bytes
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
