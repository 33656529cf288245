import type { FaultDirection, FaultPlan } from './fault'

export const describePacket = (kind: string, direction: FaultDirection): string =>
  `${kind.toUpperCase()} ${direction === 'in' ? 'from' : 'to'} the client`

/** What a fault does to its packet, for people. */
export function describeAction({ action, delayMs, details }: FaultPlan): string {
  const late = delayMs > 0 ? ` after ${delayMs} ms` : ''
  switch (action) {
    case 'delay':
      return `is late by ${delayMs} ms`
    case 'drop':
      return 'is lost'
    case 'close':
      return `the connection is closed instead${late}`
    case 'reset':
      return `the connection is reset instead${late}`
    case 'disconnect':
      return `DISCONNECT with code ${details.disconnect} (MQTT 5) and the end instead${late}`
    case 'connack':
      return `CONNACK with code ${details.connack} and the end instead${late}`
    case 'halfOpen':
      return `nothing is read or written from here on${late}`
    case 'corrupt':
      return `is malformed${late}`
    case 'hold':
      return `is held back until ${details.hold === 'until-next' ? 'the next packet' : details.hold!.toUpperCase()} has gone by`
    case 'throttle':
      return `${details.throttle!.bytesPerSecond} bytes a second from here on`
    case 'duplicate':
      return typeof details.duplicate === 'object'
        ? `comes twice, the second time with ${details.duplicate.newPacketId ? 'a new' : 'the same'} packet id and DUP ${details.duplicate.dup ? 1 : 0}${late}`
        : `comes twice${late}`
  }
}
