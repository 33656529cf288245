import type { LocalEvent } from '../events'
import { explainDecision } from '../policy'
import type { Tone } from './paint'

/** How an event reads: one line, and what belongs below it. */
export interface Reading {
  tone: Tone
  line: string
  details?: string[]
}

type Of<T extends LocalEvent['type']> = Extract<LocalEvent, { type: T }>
type Formats = { [T in LocalEvent['type']]?: (event: Of<T>) => Reading }

/** What an event says to a person. One that has no words of its own shows what it holds. */
export function readEvent(event: LocalEvent): Reading {
  const format = FORMATS[event.type] as ((event: LocalEvent) => Reading) | undefined
  return format?.(event) ?? readUnknown(event)
}

const FORMATS: Formats = {
  'connect-refused': ({ stage, rule, message }) => ({
    tone: 'bad',
    line: `refused at ${stage} (${rule})`,
    details: [message],
  }),
  'authorizer-answered': ({ authorizerName, signatureVerified, outcome, rule, message, stack }) => ({
    tone: outcome === 'authenticated' ? 'good' : 'bad',
    line: `authorizer ${authorizerName}: ${outcome}${rule === undefined ? '' : ` (${rule})`}, signature ${
      signatureVerified ? 'verified' : 'not checked'
    }`,
    details: [...(message === undefined ? [] : [message]), ...(stack === undefined ? [] : stack.split('\n'))],
  }),
  connected: (event) => ({
    tone: 'good',
    line: `connected over MQTT ${event.protocolVersion === 3 ? '3.1.1' : '5'} as principal ${event.principalId}, session ${
      event.sessionPresent ? 'resumed' : 'new'
    }`,
    details: [
      explainDecision(event.decision),
      `keep-alive ${event.keepAliveSeconds} s, session kept ${event.sessionExpirySeconds} s, ` +
        `asked again after ${event.refreshAfterInSeconds} s, cut after ${event.disconnectAfterInSeconds} s`,
    ],
  }),
  publish: ({ topic, qos, bytes, retain, allowed, decision, problem }) =>
    judged(
      `publish ${topic}, QoS ${qos}, ${bytes} bytes${retain ? ', retained' : ''}`,
      allowed,
      decision,
      problem,
    ),
  subscribe: ({ filter, qos, allowed, decision, problem }) =>
    judged(`subscribe ${filter}, QoS ${qos}`, allowed, decision, problem),
  unsubscribe: ({ filter }) => ({ tone: 'plain', line: `unsubscribe ${filter}` }),
  receive: ({ topic, qos, bytes, allowed, decision }) =>
    judged(`receive ${topic}, QoS ${qos}, ${bytes} bytes`, allowed, decision, undefined),
  dropped: ({ topic, qos, reason }) => ({ tone: 'warning', line: `dropped ${topic}, QoS ${qos}: ${reason}` }),
  ignored: ({ packet, message }) => ({ tone: 'warning', line: `${packet} ignored: ${message}` }),
  'handler-log': ({ authorizerName, stream, text }) => ({
    tone: stream === 'stderr' ? 'warning' : 'plain',
    line: `${authorizerName} printed`,
    details: text.replace(/\n$/u, '').split('\n'),
  }),
  'handler-reloaded': ({ authorizerName, files }) => ({
    tone: 'strong',
    line: `authorizer ${authorizerName} reloaded: ${files.join(', ')}`,
  }),
  warning: ({ message, stack }) => ({
    tone: 'warning',
    line: `warning: ${message}`,
    details: stack?.split('\n') ?? [],
  }),
  fault: ({ message }) => ({ tone: 'warning', line: `fault: ${message}` }),
  disconnected: ({ disconnectReason, willPublished, message }) => ({
    tone: disconnectReason === 'CLIENT_INITIATED_DISCONNECT' ? 'plain' : 'bad',
    line: `disconnected: ${disconnectReason}${willPublished ? ', will published' : ''}`,
    details: [message],
  }),
}

type Decision = Of<'connected'>['decision']

function judged(
  what: string,
  allowed: boolean,
  decision: Decision | undefined,
  problem: string | undefined,
): Reading {
  const why = problem ?? (decision === undefined ? undefined : explainDecision(decision))
  return {
    tone: allowed ? 'good' : 'bad',
    line: `${what}: ${allowed ? 'allowed' : 'denied'}`,
    details: why === undefined ? [] : [why],
  }
}

function readUnknown({ type, ...rest }: LocalEvent): Reading {
  const {
    time: _time,
    connectionId: _connection,
    clientId: _client,
    ...shown
  } = rest as Record<string, unknown>
  return { tone: 'plain', line: type.replaceAll('-', ' '), details: [JSON.stringify(shown)] }
}
