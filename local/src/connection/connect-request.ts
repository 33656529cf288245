import { randomUUID } from 'node:crypto'
import type { IConnackPacket, IConnectPacket } from 'mqtt-packet'
import { grantKeepAlive, type Limits } from '../limits'
import { readMessageProperties, readNumber, type Publication } from '../broker/message'
import { PACKET_TOO_LARGE, PROTOCOL_ERROR, ProtocolError, TOPIC_NAME_INVALID } from './protocol-error'
import { NOT_AUTHORIZED, Refusal, type ConnackCodes } from './refusal'
import { retainProblem, topicProblem } from '../broker/topic'

/** A CONNECT that keeps to the protocol and to the limits, with everything granted that it asked for. */
export interface ConnectRequest {
  protocolVersion: 3 | 5
  clientId: string
  /** The device sent no client id; this one was made here. */
  clientIdAssigned: boolean
  cleanStart: boolean
  keepAliveSeconds: number
  sessionExpirySeconds: number
  username?: string
  password?: Buffer
  will?: Publication
  /** How many QoS 1 messages the client wants unacknowledged at a time. */
  receiveMaximum: number
  maximumPacketSize?: number
  /** The client did not switch off Reason Strings. */
  wantsReasonString: boolean
}

const UNACCEPTABLE_PROTOCOL_VERSION: ConnackCodes = { returnCode: 1, reasonCode: 0x84 }
const CLIENT_ID_NOT_VALID: ConnackCodes = { returnCode: 2, reasonCode: 0x85 }
const QOS_NOT_SUPPORTED = 0x9b
const BAD_AUTHENTICATION_METHOD = 0x8c

/** Throws a Refusal. */
export function readConnect(
  packet: IConnectPacket & { bridgeMode?: boolean },
  limits: Limits,
): ConnectRequest {
  const protocolVersion = readProtocolVersion(packet)
  if ((packet.length ?? 0) > limits.payloadBytes) {
    refuse('packet-too-large', `CONNECT has at most ${limits.payloadBytes} bytes`, PACKET_TOO_LARGE)
  }
  try {
    return readFields(packet, protocolVersion, limits)
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    return refuse('malformed-packet', error.message, error.reasonCode)
  }
}

function readProtocolVersion(packet: IConnectPacket & { bridgeMode?: boolean }): 3 | 5 {
  if (packet.bridgeMode !== true && packet.protocolId === 'MQTT') {
    if (packet.protocolVersion === 4) return 3
    if (packet.protocolVersion === 5) return 5
  }
  throw new Refusal(
    'connect',
    'unsupported-protocol-version',
    'only MQTT 3.1.1 and MQTT 5 are spoken here',
    UNACCEPTABLE_PROTOCOL_VERSION,
  )
}

/** What the CONNACK of an MQTT 5 client says that it was granted. */
export function grantedProperties(
  request: ConnectRequest,
  limits: Limits,
): NonNullable<IConnackPacket['properties']> {
  return {
    sessionExpiryInterval: request.sessionExpirySeconds,
    ...(request.clientIdAssigned && { assignedClientIdentifier: request.clientId }),
    serverKeepAlive: request.keepAliveSeconds,
    receiveMaximum: limits.inFlight,
    topicAliasMaximum: limits.topicAliases,
    maximumQoS: 1,
    retainAvailable: true,
    maximumPacketSize: limits.packetBytes,
    wildcardSubscriptionAvailable: true,
    subscriptionIdentifiersAvailable: false,
    sharedSubscriptionAvailable: true,
  }
}

function readFields(packet: IConnectPacket, protocolVersion: 3 | 5, limits: Limits): ConnectRequest {
  const { username, password, clean: cleanStart = true, properties = {} } = packet
  if (protocolVersion === 3 && password !== undefined && username === undefined) {
    throw new ProtocolError(PROTOCOL_ERROR, 'MQTT 3.1.1 allows a password only together with a user name')
  }
  if (properties.authenticationMethod !== undefined) {
    refuse(
      'authentication-method',
      'IoT Core knows no enhanced authentication (AUTH)',
      BAD_AUTHENTICATION_METHOD,
    )
  }
  const receiveMaximum = readNumber(properties.receiveMaximum, 'Receive Maximum') ?? 65_535
  const maximumPacketSize = readNumber(properties.maximumPacketSize, 'Maximum Packet Size')
  if (receiveMaximum === 0 || maximumPacketSize === 0) {
    throw new ProtocolError(PROTOCOL_ERROR, 'Receive Maximum and Maximum Packet Size must not be 0')
  }
  const requestedExpiry =
    protocolVersion === 5
      ? (readNumber(properties.sessionExpiryInterval, 'Session Expiry Interval') ?? 0)
      : cleanStart
        ? 0
        : limits.sessionExpirySeconds
  const clientId = readClientId(packet.clientId, protocolVersion === 5 || cleanStart, limits)
  const will = readWill(packet.will, limits)
  return {
    protocolVersion,
    clientId: clientId === '' ? `$GEN/${randomUUID()}` : clientId,
    clientIdAssigned: clientId === '',
    cleanStart,
    keepAliveSeconds: grantKeepAlive(packet.keepalive ?? 0, limits),
    sessionExpirySeconds: Math.min(requestedExpiry, limits.sessionExpirySeconds),
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password: Buffer.from(password) }),
    ...(will !== undefined && { will }),
    receiveMaximum,
    ...(maximumPacketSize !== undefined && { maximumPacketSize }),
    wantsReasonString: properties.requestProblemInformation !== false,
  }
}

function readClientId(clientId: string, mayBeEmpty: boolean, limits: Limits): string {
  const invalid = (rule: string, message: string): never => {
    throw new Refusal('connect', rule, message, CLIENT_ID_NOT_VALID)
  }
  if (clientId === '' && !mayBeEmpty) invalid('client-id-empty', 'a persistent session needs a client id')
  if (clientId.startsWith('$')) invalid('client-id-reserved', 'client ids that start with "$" are reserved')
  if (clientId.includes('\0')) invalid('client-id-invalid', 'a client id must not contain U+0000')
  const bytes = Buffer.byteLength(clientId)
  if (bytes > limits.clientIdBytes) {
    invalid(
      'client-id-too-long',
      `a client id has at most ${limits.clientIdBytes} bytes, this one has ${bytes}`,
    )
  }
  return clientId
}

function readWill(will: IConnectPacket['will'], limits: Limits): Publication | undefined {
  if (will === undefined) return undefined
  const { topic, qos = 0, retain = false } = will
  if (qos !== 0 && qos !== 1) refuse('will-qos', 'a Will has QoS 0 or 1', QOS_NOT_SUPPORTED)
  const problem = topicProblem(topic, limits) ?? (retain ? retainProblem(topic) : undefined)
  if (problem !== undefined) refuse('will-topic', `Will: ${problem}`, TOPIC_NAME_INVALID)
  const payload = Buffer.from(will.payload)
  if (payload.length > limits.payloadBytes) {
    refuse('will-too-large', `a Will has at most ${limits.payloadBytes} bytes of payload`, PACKET_TOO_LARGE)
  }
  return { topic, payload, qos: qos as 0 | 1, retain, ...readMessageProperties(will.properties, limits) }
}

function refuse(rule: string, message: string, reasonCode: number): never {
  throw new Refusal('connect', rule, message, { returnCode: NOT_AUTHORIZED.returnCode, reasonCode })
}
