import type { LocalEvent } from '../events'
import { isObject } from '../options'
import { explainDecision, type Decision } from '../policy/policy'
import type { Tone } from './paint'

/** How an event reads: one line, and what belongs below it. */
export interface Reading {
  tone: Tone
  line: string
  details?: (string | undefined)[]
}

type Of<T extends LocalEvent['type']> = Extract<LocalEvent, { type: T }>
type Formats = { [T in LocalEvent['type']]?: (event: Of<T>) => Reading }

/** What an event says to a person. What the table has no words for is shown as it is: a type, or a member of one. */
export function readEvent(event: LocalEvent): Reading {
  const told = new Set(COLUMNS)
  const watched = new Proxy(event, {
    get(target, member, receiver) {
      told.add(member as string)
      return Reflect.get(target, member, receiver)
    },
  })
  const formats = FORMATS as Record<string, ((event: LocalEvent) => Reading) | undefined>
  const format = Object.hasOwn(formats, event.type) ? formats[event.type] : undefined
  const reading = format?.(watched) ?? {
    tone: (event as { allowed?: boolean }).allowed === false ? 'bad' : 'plain',
    line: event.type.replaceAll('-', ' '),
  }
  const rest = Object.entries(event).filter(([member]) => !told.has(member))
  return { ...reading, details: [...(reading.details ?? []), ...rest.map(readMember)] }
}

/** Members that the log has columns for. */
const COLUMNS = ['type', 'time', 'connectionId', 'clientId']

const FORMATS: Formats = {
  // The message puts the decision into words already.
  'connect-refused': ({ stage, rule, message, authorizerName, decision: _decision }) => ({
    tone: 'bad',
    line: `connection refused at ${stage}: ${rule}`,
    details: [message, authorizerName && `authorizer ${authorizerName}`],
  }),
  'authorizer-answered': ({ authorizerName, signatureVerified, outcome, rule, message, stack }) => ({
    tone: outcome === 'authenticated' ? 'good' : 'bad',
    line:
      `authorizer ${authorizerName}: ${outcome}${rule === undefined ? '' : `, ${rule}`}; ` +
      `signature ${signatureVerified ? 'verified' : 'not checked'}`,
    details: [message, stack],
  }),
  connected: (event) => ({
    tone: 'good',
    line:
      `connection accepted: MQTT ${event.protocolVersion === 3 ? '3.1.1' : '5'} over ` +
      `${event.transport === 'tls' ? 'TLS' : 'WebSocket'}, ` +
      `principal ${event.principalId}, ${event.sessionPresent ? 'session resumed' : 'new session'}`,
    details: [
      explainDecision(event.decision),
      event.willDecision && `Will: ${explainDecision(event.willDecision)}`,
      `authorizer ${event.authorizerName}, server name ${event.serverName ?? 'none'}, ` +
        `clean ${event.protocolVersion === 3 ? 'session' : 'start'} ${event.cleanStart}`,
      `keep-alive ${event.keepAliveSeconds} s, session kept for ${event.sessionExpirySeconds} s, ` +
        `refresh after ${event.refreshAfterInSeconds} s, disconnect after ${event.disconnectAfterInSeconds} s`,
    ],
  }),
  refreshed: ({ authorizerName, principalId, refreshAfterInSeconds, decision }) => ({
    tone: decision.allowed ? 'good' : 'bad',
    line: `authorizer ${authorizerName} was asked again: principal ${principalId}`,
    details: [explainDecision(decision), `refresh after ${refreshAfterInSeconds} s`],
  }),
  publish: ({ topic, qos, bytes, retain, allowed, decision, problem }) =>
    judged(
      `publish ${topic} (QoS ${qos}, ${bytes} bytes${retain ? ', retain' : ''})`,
      allowed,
      decision,
      problem,
    ),
  subscribe: ({ filter, qos, allowed, reasonCode, decision, problem }) =>
    judged(
      `subscribe ${filter} (QoS ${qos}${allowed ? '' : `, reason code 0x${reasonCode.toString(16)}`})`,
      allowed,
      decision,
      problem,
    ),
  unsubscribe: ({ filter }) => ({ tone: 'plain', line: `unsubscribe ${filter}` }),
  receive: ({ topic, qos, bytes, redelivery, allowed, decision }) =>
    judged(
      `receive ${topic} (QoS ${qos}, ${bytes} bytes${redelivery ? ', sent again' : ''})`,
      allowed,
      decision,
    ),
  dropped: ({ topic, qos, reason }) => ({
    tone: 'warning',
    line: `message lost: ${topic} (QoS ${qos}): ${reason}`,
  }),
  ignored: ({ packet, message }) => ({ tone: 'warning', line: `ignored ${packet}`, details: [message] }),
  'handler-log': ({ authorizerName, stream, text }) => ({
    tone: stream === 'stderr' ? 'warning' : 'strong',
    line: `authorizer ${authorizerName} printed (${stream})`,
    details: [text],
  }),
  'handler-reloaded': ({ authorizerName, files }) => ({
    tone: 'strong',
    line: `authorizer ${authorizerName} reloaded`,
    details: files.map((file) => `changed: ${file}`),
  }),
  warning: ({ message, authorizerName, stack }) => ({
    tone: 'warning',
    line: `warning${authorizerName === undefined ? '' : ` about authorizer ${authorizerName}`}`,
    details: [message, stack],
  }),
  fault: ({ action, message, packet: _packet, direction: _direction }) => ({
    tone: 'warning',
    line: `fault: ${action}`,
    details: [message],
  }),
  disconnected: ({ disconnectReason, clientInitiated, willPublished, message }) => ({
    tone: clientInitiated ? 'plain' : 'bad',
    line: `disconnected: ${disconnectReason}`,
    details: [message, willPublished ? 'the Will was published' : undefined],
  }),
}

function judged(what: string, allowed: boolean, decision: Decision | undefined, problem?: string): Reading {
  return {
    tone: allowed ? 'good' : 'bad',
    line: `${what}: ${allowed ? 'allowed' : 'denied'}`,
    details: [decision && explainDecision(decision), problem],
  }
}

function readMember([name, value]: [string, unknown]): string {
  if (isDecision(value)) return `${name}: ${explainDecision(value)}`
  return `${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}`
}

const isDecision = (value: unknown): value is Decision =>
  isObject(value) && 'allowed' in value && 'action' in value && 'resource' in value && 'reason' in value
