import type { Clock } from '../clock'
import type { Limits } from '../limits'
import { createMessage, isExpired, type Message, type Publication } from './message'
import { MAX_TIMER_MS, Session, type SessionLink, type SessionSettings, type Subscription } from './session'
import { SubscriptionTree } from './subscription-tree'
import { hasWildcard, isBasicIngest, parseSharedFilter } from './topic'

export interface SubscriptionOptions {
  qos: 0 | 1
  noLocal: boolean
  retainAsPublished: boolean
  /** MQTT 5 Retain Handling: 0 always, 1 for a new subscription, 2 never. */
  retainHandling: number
}

/** Sessions, subscriptions and retained messages: everything that connections share. */
export class Broker {
  readonly clock: Clock
  readonly #limits: Limits
  readonly #sessions = new Map<string, Session>()
  /** Sessions without a connection, in the order in which they were left. */
  readonly #stored = new Set<Session>()
  readonly #tree = new SubscriptionTree<Subscription>()
  readonly #retained = new Map<string, Message>()
  #retainedBytes = 0
  readonly #holdings = { bytes: 0 }

  constructor(limits: Limits, clock: Clock) {
    this.#limits = limits
    this.clock = clock
  }

  /** The session for a connection that was authorized; an older connection of that client id is closed. */
  openSession(settings: SessionSettings, cleanStart: boolean): { session: Session; present: boolean } {
    const { clientId, protocolVersion } = settings
    this.#sessions.get(clientId)?.link?.takeOver()
    // Looked up again: a session that ended with its connection is gone now.
    const existing = this.#sessions.get(clientId)
    if (existing !== undefined) {
      existing.expiryTimer?.cancel()
      this.#stored.delete(existing)
      if (!cleanStart && existing.settings.protocolVersion === protocolVersion) {
        existing.settings.expirySeconds = settings.expirySeconds
        return { session: existing, present: true }
      }
      this.#remove(existing)
    }
    const session = new Session(settings, this.#limits, this.clock, this.#holdings)
    this.#sessions.set(clientId, session)
    return { session, present: false }
  }

  /** What `clientId` is connected by. */
  linkOf(clientId: string): SessionLink | undefined {
    return this.#sessions.get(clientId)?.link
  }

  /** The connection of `session` is gone; the session stays until it expires. */
  leaveSession(session: Session): void {
    session.detach()
    const { expirySeconds } = session.settings
    if (expirySeconds === 0) return this.#remove(session)
    this.#stored.add(session)
    // No endpoint of this kind lives for weeks.
    if (expirySeconds * 1000 <= MAX_TIMER_MS) {
      session.expiryTimer = this.clock.setTimeout(() => this.#remove(session), expirySeconds * 1000)
    }
    const [first] = this.#stored
    if (this.#stored.size > this.#limits.storedSessions) this.#remove(first!)
  }

  /** Returns the retained messages that the subscription is owed, to be sent after SUBACK. */
  subscribe(session: Session, text: string, options: SubscriptionOptions): Message[] {
    const shared = parseSharedFilter(text)
    const filter = shared?.filter ?? text
    const existing = session.subscriptions.get(text)
    if (existing !== undefined) this.#tree.remove(existing)
    const { qos, noLocal, retainAsPublished, retainHandling } = options
    const subscription: Subscription = {
      session,
      filter,
      ...(shared !== undefined && { shareName: shared.shareName }),
      qos,
      noLocal,
      retainAsPublished,
    }
    session.subscriptions.set(text, subscription)
    this.#tree.add(subscription)

    const wanted = retainHandling === 0 || (retainHandling === 1 && existing === undefined)
    if (!wanted || shared !== undefined || hasWildcard(filter)) return []
    const message = this.#retained.get(filter)
    if (message === undefined) return []
    if (!isExpired(message, this.clock.now())) return [message]
    this.#forgetRetained(message)
    return []
  }

  unsubscribe(session: Session, text: string): void {
    const subscription = session.subscriptions.get(text)
    if (subscription === undefined) return
    session.subscriptions.delete(text)
    this.#tree.remove(subscription)
  }

  /** Hands `message` to everybody who subscribed; false if it should have been retained and there is no room. */
  publish(publication: Publication, publisher?: string): boolean {
    const message = createMessage(publication, this.clock.now(), publisher)
    const kept = !message.retain || this.#retain(message)
    if (isBasicIngest(message.topic)) return kept // goes to a rule, not to subscribers
    const { entries, groups } = this.#tree.match(message.topic)
    const chosen = groups.map((members) => chooseMember(members, message.qos))
    const deliveries = new Map<Session, { qos: 0 | 1; retain: boolean }>()
    for (const subscription of [...entries, ...chosen]) {
      if (subscription === undefined) continue
      const { session, noLocal, retainAsPublished } = subscription
      if (noLocal && message.publisher === session.settings.clientId) continue
      const qos = message.qos === 1 ? subscription.qos : 0
      const retain = message.retain && retainAsPublished
      const other = deliveries.get(session)
      // Filters of one client that overlap give one message, with the best QoS of them.
      if (other === undefined) deliveries.set(session, { qos, retain })
      else if (qos > other.qos) other.qos = qos
    }
    for (const [session, { qos, retain }] of deliveries) session.deliver({ message, qos, retain })
    return kept
  }

  /** Forgets everything; no timer is left. */
  clear(): void {
    for (const session of this.#sessions.values()) {
      session.discard()
      session.expiryTimer?.cancel()
    }
    this.#sessions.clear()
    this.#stored.clear()
    this.#retained.clear()
    this.#retainedBytes = 0
  }

  #retain(message: Message): boolean {
    const { topic, payload } = message
    const existing = this.#retained.get(topic)
    const existingBytes = existing === undefined ? 0 : existing.bytes
    const bytes = payload.length === 0 ? 0 : message.bytes
    const total = this.#retainedBytes - existingBytes + bytes
    if (total > this.#limits.retainedBytes) return false
    this.#retainedBytes = total
    if (bytes === 0) this.#retained.delete(topic)
    else this.#retained.set(topic, message)
    return true
  }

  #forgetRetained(message: Message): void {
    this.#retained.delete(message.topic)
    this.#retainedBytes -= message.bytes
  }

  #remove(session: Session): void {
    session.expiryTimer?.cancel()
    this.#stored.delete(session)
    for (const subscription of session.subscriptions.values()) this.#tree.remove(subscription)
    session.subscriptions.clear()
    session.discard()
    if (this.#sessions.get(session.settings.clientId) === session) {
      this.#sessions.delete(session.settings.clientId)
    }
  }
}

/** A random member that is connected; without one, QoS 1 waits for a random persistent session. */
function chooseMember(members: ReadonlySet<Subscription>, qos: 0 | 1): Subscription | undefined {
  const all = [...members]
  const connected = all.filter(({ session }) => session.link !== undefined)
  const waiting = qos === 1 ? all.filter((s) => s.qos === 1 && s.session.reachable) : []
  const candidates = connected.length > 0 ? connected : waiting
  return candidates[Math.floor(Math.random() * candidates.length)]
}
