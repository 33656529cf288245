import type {
  IPubackPacket,
  IPublishPacket,
  ISubscribePacket,
  ISubscription,
  IUnsubscribePacket,
  Packet,
} from 'mqtt-packet'
import type { Broker } from '../broker/broker'
import type { Choices } from '../choices'
import type { Clock } from '../clock'
import type { ConnectionEvent } from './connection'
import type { Profile } from './connection-services'
import type { Limits } from '../limits'
import { readMessageProperties, readNumber } from '../broker/message'
import { explainDecision, type Decision, type Policy } from '../policy/policy'
import {
  NOT_AUTHORIZED_CODE,
  PACKET_TOO_LARGE,
  PROTOCOL_ERROR,
  ProtocolError,
  QUOTA_EXCEEDED,
  SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
  TOPIC_ALIAS_INVALID,
  TOPIC_FILTER_INVALID,
  TOPIC_NAME_INVALID,
} from './protocol-error'
import type { Session } from '../broker/session'
import {
  filterProblem,
  parseSharedFilter,
  retainProblem,
  shareNameProblem,
  topicProblem,
} from '../broker/topic'

export interface RequestContext {
  profile: Profile
  choices: Choices
  clock: Clock
  limits: Limits
  broker: Broker
  protocolVersion: 3 | 5
  /** The one that holds at the moment. */
  readonly policy: Policy
  session: Session
  send(packet: Packet): void
  record(event: ConnectionEvent): void
  /** False for a PUBLISH beyond the rate of messages. */
  admitPublish(): boolean
  /** Tells those who subscribed to lifecycle events. */
  announce(eventType: 'subscribed' | 'unsubscribed', topics: string[]): void
}

/** What a connected client asks for: PUBLISH, PUBACK, SUBSCRIBE, UNSUBSCRIBE. Throws ProtocolError to end it. */
export class RequestHandler {
  readonly #context: RequestContext
  readonly #aliases = new Map<number, string>()

  constructor(context: RequestContext) {
    this.#context = context
  }

  publish(packet: IPublishPacket): void {
    const { limits, broker, policy, session, send, record, admitPublish } = this.#context
    const { qos, retain } = packet
    const topic = this.#resolveTopic(packet)
    if (qos === 2) {
      return record({ type: 'ignored', packet: 'PUBLISH', message: 'IoT Core never acknowledges QoS 2' })
    }
    if (qos === 1) requirePacketId(packet)
    if (!admitPublish()) return record({ type: 'dropped', topic, qos, reason: 'throttled' })
    const payload = Buffer.from(packet.payload) // a copy: the packet is a view of what the socket read
    const publication = { topic, payload, qos, retain, ...readMessageProperties(packet.properties, limits) }
    const event = { type: 'publish', topic, qos, retain, bytes: payload.length } as const

    const refused = this.#publishProblem(topic, payload, retain)
    if (refused !== undefined) {
      record({ ...event, allowed: false, problem: refused.message })
      throw this.#rejectPublish(packet, refused)
    }
    const decision = policy.publish(topic, retain)
    record({ ...event, allowed: decision.allowed, decision })
    if (!decision.allowed) return this.#denyPublish(packet, explainDecision(decision))
    if (!broker.publish(publication, session.settings.clientId)) {
      record({ type: 'dropped', topic, qos, reason: 'retained-full' })
    }
    if (qos === 1) send({ cmd: 'puback', messageId: packet.messageId!, reasonCode: 0 })
  }

  puback(packet: IPubackPacket): void {
    requirePacketId(packet)
    this.#context.session.acknowledge(packet.messageId!)
  }

  subscribe(packet: ISubscribePacket): void {
    const { broker, session, send, record, protocolVersion, announce } = this.#context
    const { subscriptions } = packet
    requirePacketId(packet)
    if (subscriptions.length === 0)
      throw new ProtocolError(PROTOCOL_ERROR, 'SUBSCRIBE without a topic filter')
    if (packet.properties?.subscriptionIdentifier !== undefined) {
      throw new ProtocolError(
        SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
        'IoT Core does not support subscription identifiers',
      )
    }
    if (subscriptions.some(({ topic, nl }) => nl === true && topic.startsWith('$share/'))) {
      throw new ProtocolError(PROTOCOL_ERROR, 'a shared subscription must not ask for No Local')
    }
    if (subscriptions.some(({ qos }) => qos === 2)) {
      return record({ type: 'ignored', packet: 'SUBSCRIBE', message: 'IoT Core never acknowledges QoS 2' })
    }
    this.#checkFilterCount('a SUBSCRIBE', subscriptions.length)

    const held = new Set(session.subscriptions.keys())
    const judged = subscriptions.map((request) => ({ request, verdict: this.#judge(request, held) }))
    for (const { request, verdict } of judged) {
      const { decision, problem, reasonCode } = verdict
      record({
        type: 'subscribe',
        filter: request.topic,
        qos: request.qos as 0 | 1,
        allowed: reasonCode < 0x80,
        reasonCode,
        ...(decision !== undefined && { decision }),
        ...(problem !== undefined && { problem }),
      })
    }
    for (const { verdict } of judged) this.#endIfRefused(verdict)

    const granted = judged.filter(({ verdict }) => verdict.reasonCode < 0x80)
    const retained = granted.flatMap(({ request: { topic, qos, nl, rap, rh } }) =>
      broker
        .subscribe(session, topic, {
          qos: qos as 0 | 1,
          noLocal: nl === true,
          retainAsPublished: rap === true,
          retainHandling: rh ?? 0,
        })
        .map((message) => ({ message, qos: Math.min(message.qos, qos) as 0 | 1, retain: true })),
    )
    const { messageId } = packet
    const codes = judged.map(({ verdict: { reasonCode } }) =>
      protocolVersion === 3 ? Math.min(reasonCode, 0x80) : reasonCode,
    )
    send({ cmd: 'suback', messageId: messageId!, granted: codes })
    for (const delivery of retained) session.deliver(delivery)
    if (granted.length > 0) {
      announce(
        'subscribed',
        granted.map(({ request }) => request.topic),
      )
    }
  }

  unsubscribe(packet: IUnsubscribePacket): void {
    const { broker, session, send, record, announce } = this.#context
    const { unsubscriptions } = packet
    requirePacketId(packet)
    if (unsubscriptions.length === 0)
      throw new ProtocolError(PROTOCOL_ERROR, 'UNSUBSCRIBE without a topic filter')
    this.#checkFilterCount('an UNSUBSCRIBE', unsubscriptions.length)
    const granted = unsubscriptions.map((filter) => {
      broker.unsubscribe(session, filter)
      record({ type: 'unsubscribe', filter })
      return this.#filterProblem(filter) === undefined ? 0 : TOPIC_FILTER_INVALID
    })
    send({ cmd: 'unsuback', messageId: packet.messageId!, granted })
    announce('unsubscribed', unsubscriptions)
  }

  #checkFilterCount(packet: string, count: number): void {
    const { filtersPerSubscribe } = this.#context.limits
    if (count <= filtersPerSubscribe) return
    const message = `${packet} has at most ${filtersPerSubscribe} topic filters, this one has ${count}`
    throw new ProtocolError(QUOTA_EXCEEDED, message)
  }

  #resolveTopic({ topic, properties }: IPublishPacket): string {
    const { limits, protocolVersion } = this.#context
    if (protocolVersion === 3) return topic
    if (properties?.subscriptionIdentifier !== undefined) {
      throw new ProtocolError(PROTOCOL_ERROR, 'a client must not send a subscription identifier in PUBLISH')
    }
    const alias = readNumber(properties?.topicAlias, 'Topic Alias')
    if (alias === undefined) return topic
    if (alias === 0 || alias > limits.topicAliases) {
      throw new ProtocolError(
        TOPIC_ALIAS_INVALID,
        `a topic alias is 1 to ${limits.topicAliases}, this one is ${alias}`,
      )
    }
    if (topic !== '') {
      this.#aliases.set(alias, topic)
      return topic
    }
    const known = this.#aliases.get(alias)
    if (known === undefined)
      throw new ProtocolError(PROTOCOL_ERROR, `topic alias ${alias} stands for no topic yet`)
    return known
  }

  #publishProblem(topic: string, payload: Buffer, retain: boolean): ProtocolError | undefined {
    const { limits } = this.#context
    const problem = topicProblem(topic, limits) ?? (retain ? retainProblem(topic) : undefined)
    if (problem !== undefined) return new ProtocolError(TOPIC_NAME_INVALID, problem)
    if (payload.length > limits.payloadBytes) {
      const message = `a payload has at most ${limits.payloadBytes} bytes, this one has ${payload.length}`
      return new ProtocolError(PACKET_TOO_LARGE, message)
    }
    return undefined
  }

  #denyPublish(packet: IPublishPacket, message: string): void {
    const { protocolVersion, choices, send } = this.#context
    const choice = protocolVersion === 5 ? choices.deniedPublish5 : choices.deniedPublish311
    if (choice === 'puback') {
      if (packet.qos === 1) {
        send({ cmd: 'puback', messageId: packet.messageId!, reasonCode: NOT_AUTHORIZED_CODE })
      }
      return
    }
    const error = new ProtocolError(NOT_AUTHORIZED_CODE, message, 'AUTH_ERROR', choice === 'close')
    throw choice === 'close' ? error : this.#rejectPublish(packet, error)
  }

  /** On MQTT 5 a refused QoS 1 message gets its PUBACK before the connection ends. */
  #rejectPublish({ qos, messageId }: IPublishPacket, error: ProtocolError): ProtocolError {
    const { protocolVersion, send } = this.#context
    if (protocolVersion === 5 && qos === 1 && PUBACK_CODES.has(error.reasonCode)) {
      send({ cmd: 'puback', messageId: messageId!, reasonCode: error.reasonCode })
    }
    return error
  }

  /** A refused filter gets its code in SUBACK, or the connection ends without one. */
  #endIfRefused({ reasonCode, problem, decision }: SubscriptionVerdict): void {
    const { protocolVersion, choices } = this.#context
    if (reasonCode < 0x80) return
    if (problem !== undefined) {
      // No SUBACK 0x80: a 3.1.1 client sees its connection closed.
      if (protocolVersion === 3) throw new ProtocolError(reasonCode, problem)
      return
    }
    const choice = protocolVersion === 5 ? choices.deniedSubscribe5 : choices.deniedSubscribe311
    if (choice === 'suback') return
    throw new ProtocolError(reasonCode, explainDecision(decision!), 'AUTH_ERROR', choice === 'close')
  }

  #filterProblem(topic: string): string | undefined {
    const { limits } = this.#context
    const shared = parseSharedFilter(topic)
    return (
      (shared && shareNameProblem(shared.shareName, limits)) ?? filterProblem(shared?.filter ?? topic, limits)
    )
  }

  /** `held` are the filters that the session holds, those of this SUBSCRIBE included as they are granted. */
  #judge({ topic, qos }: ISubscription, held: Set<string>): SubscriptionVerdict {
    const { limits, policy } = this.#context
    const problem = this.#filterProblem(topic)
    if (problem !== undefined) return { reasonCode: TOPIC_FILTER_INVALID, problem }
    const decision = policy.subscribe(topic)
    if (!decision.allowed) return { reasonCode: NOT_AUTHORIZED_CODE, decision }
    if (!held.has(topic) && held.size >= limits.subscriptionsPerConnection) {
      const limit = limits.subscriptionsPerConnection
      return { reasonCode: QUOTA_EXCEEDED, problem: `a connection has at most ${limit} subscriptions` }
    }
    held.add(topic)
    return { reasonCode: qos, decision }
  }
}

interface SubscriptionVerdict {
  reasonCode: number
  decision?: Decision
  problem?: string
}

const PUBACK_CODES = new Set([NOT_AUTHORIZED_CODE, TOPIC_NAME_INVALID])

/** The parser lets 0 through, and -1 where the packet ended too early. */
function requirePacketId({ messageId }: Packet): void {
  if (messageId === undefined || messageId < 1)
    throw new ProtocolError(PROTOCOL_ERROR, 'the packet id is missing or 0')
}
