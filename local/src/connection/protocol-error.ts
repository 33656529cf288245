import type { DisconnectReason } from '../events'

/** Reason codes of MQTT 5 that the broker uses in DISCONNECT, PUBACK and SUBACK. */
export const MALFORMED_PACKET = 0x81
export const PROTOCOL_ERROR = 0x82
export const NOT_AUTHORIZED_CODE = 0x87
export const SERVER_SHUTTING_DOWN = 0x8b
export const KEEP_ALIVE_TIMEOUT = 0x8d
export const SESSION_TAKEN_OVER = 0x8e
export const TOPIC_FILTER_INVALID = 0x8f
export const TOPIC_NAME_INVALID = 0x90
export const TOPIC_ALIAS_INVALID = 0x94
export const PACKET_TOO_LARGE = 0x95
export const QUOTA_EXCEEDED = 0x97
export const SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xa1
export const UNSPECIFIED_ERROR = 0x80

/** Ends the connection: with a DISCONNECT that carries the code on MQTT 5, without a word on 3.1.1. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'

  constructor(
    readonly reasonCode: number,
    message: string,
    readonly disconnectReason: DisconnectReason = 'CLIENT_ERROR',
    /** On MQTT 5 too. */
    readonly silent = false,
  ) {
    super(message)
  }
}
