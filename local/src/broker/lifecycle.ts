import type { Broker } from './broker'
import type { Clock } from '../clock'
import type { DisconnectReason } from '../events'

/** Whose life it is. */
export interface LifecycleSubject {
  clientId: string
  connectionId: string
  ipAddress: string
  /** Undefined where no authorizer has said it; then it is left out. */
  principalId: string | undefined
}

const TOPIC = '$aws/events'
/** IoT Core counts from 0 again for a client id that was away "for approximately one hour". */
const VERSION_KEPT_MS = 3_600_000

/** Tells subscribers who comes and goes, as IoT Core does: as messages on `$aws/events/...`. */
export class Lifecycle {
  readonly #broker: Broker
  readonly #clock: Clock
  readonly #remembered: number
  /** The version number of those who are connected. */
  readonly #present = new Map<string, number>()
  /** And of those who were; the one that left last comes last. */
  readonly #gone = new Map<string, { version: number; leftAt: number }>()

  /** `remembered` is how many client ids keep their version number while they are away. */
  constructor(broker: Broker, clock: Clock, remembered: number) {
    this.#broker = broker
    this.#clock = clock
    this.#remembered = remembered
  }

  connected(subject: LifecycleSubject): void {
    const versionNumber = this.#nextVersion(subject.clientId)
    this.#gone.delete(subject.clientId)
    this.#present.set(subject.clientId, versionNumber)
    this.#tell('presence', 'connected', subject, { ipAddress: subject.ipAddress, versionNumber })
  }

  /** Has the version number of the `connected` that it belongs to. */
  disconnected(subject: LifecycleSubject, disconnectReason: DisconnectReason): void {
    const versionNumber = this.#present.get(subject.clientId) ?? 0
    this.#present.delete(subject.clientId)
    this.#leave(subject.clientId, versionNumber)
    this.#tell('presence', 'disconnected', subject, {
      clientInitiatedDisconnect: disconnectReason === 'CLIENT_INITIATED_DISCONNECT',
      disconnectReason,
      versionNumber,
    })
  }

  /** Leaves no trace here: anybody can make up client ids. */
  connectFailed(subject: LifecycleSubject): void {
    this.#tell('presence', 'connect_failed', subject, {
      ipAddress: subject.ipAddress,
      connectFailureReason: 'AUTHORIZATION_FAILED',
      versionNumber: this.#nextVersion(subject.clientId),
    })
  }

  subscribed(subject: LifecycleSubject, topics: string[]): void {
    this.#tell('subscriptions', 'subscribed', subject, { topics })
  }

  unsubscribed(subject: LifecycleSubject, topics: string[]): void {
    this.#tell('subscriptions', 'unsubscribed', subject, { topics })
  }

  #leave(clientId: string, version: number): void {
    this.#gone.delete(clientId)
    this.#gone.set(clientId, { version, leftAt: this.#clock.now() })
    if (this.#gone.size <= this.#remembered) return
    const [first] = this.#gone.keys()
    this.#gone.delete(first!)
  }

  #nextVersion(clientId: string): number {
    const now = this.#clock.now()
    for (const [id, { leftAt }] of this.#gone) {
      if (now - leftAt < VERSION_KEPT_MS) break
      this.#gone.delete(id)
    }
    const last = this.#present.get(clientId) ?? this.#gone.get(clientId)?.version
    return last === undefined ? 0 : last + 1
  }

  #tell(
    group: 'presence' | 'subscriptions',
    eventType: string,
    { clientId, connectionId, principalId }: LifecycleSubject,
    members: object,
  ): void {
    if (/[#+]/.test(clientId)) return // would be no topic
    const event = {
      clientId,
      timestamp: this.#clock.now(),
      eventType,
      sessionIdentifier: connectionId,
      principalIdentifier: principalId,
      ...members,
    }
    const publication = {
      topic: `${TOPIC}/${group}/${eventType}/${clientId}`,
      payload: Buffer.from(JSON.stringify(event)),
      qos: 1,
      retain: false,
      properties: {},
    } as const
    this.#broker.publish(publication)
  }
}
