import { randomUUID } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { IConnackPacket, IConnectPacket, IDisconnectPacket, Packet } from 'mqtt-packet'
import type { Authenticated, Authorizers } from './authorizer'
import type { AuthorizerRequest } from './authorizer-event'
import type { Broker } from './broker'
import { grantedProperties, readConnect, readProtocolVersion, type ConnectRequest } from './connect-request'
import type { DisconnectReason, Dropped, Journal, NewEvent } from './events'
import { FaultEnd, FaultStream } from './fault-stream'
import type { FaultRegistry } from './faults'
import type { FramingError } from './framing'
import type { Limits } from './limits'
import { createMessage, readNumber, remainingExpiry, type Message } from './message'
import type { PacketListener } from './packet-stream'
import { explainDecision, Policy, type Decision } from './policy'
import {
  KEEP_ALIVE_TIMEOUT,
  MALFORMED_PACKET,
  PACKET_TOO_LARGE,
  PROTOCOL_ERROR,
  ProtocolError,
  SERVER_SHUTTING_DOWN,
  SESSION_TAKEN_OVER,
  UNSPECIFIED_ERROR,
} from './protocol-error'
import { Refusal } from './refusal'
import { RequestHandler } from './request-handler'
import type { Delivery, Session, SessionLink } from './session'
import { StreamEnd } from './stream-end'

/** How IoT Core itself refuses, or with a reason wherever the protocol has room for one. */
export type Profile = 'aws' | 'friendly'

/** What all connections of an endpoint share. */
export interface ConnectionServices {
  profile: Profile
  region: string
  accountId: string
  limits: Limits
  journal: Journal
  authorizers: Authorizers
  broker: Broker
  faults: FaultRegistry
}

/** What the front door knows about a stream of MQTT bytes. */
export interface Origin extends Omit<AuthorizerRequest, 'mqtt'> {
  remoteAddress: string
  /** The socket under the stream of MQTT bytes, where that is another one. */
  socket?: Duplex
  /** What the front door has left of the time for CONNECT. */
  connectWithinMs?: number
  /** Turned away already; CONNECT is awaited only to answer it with the reason. */
  refusal?: Refusal
}

/** One MQTT connection from CONNECT to its end. */
export class Connection implements PacketListener, SessionLink {
  readonly #services: ConnectionServices
  readonly #origin: Origin
  readonly #stream: FaultStream
  #state: 'awaiting-connect' | 'authorizing' | 'open' | 'closed' = 'awaiting-connect'
  /** Until CONNECT is complete the time limit for it; afterwards keep-alive. */
  #timer: NodeJS.Timeout
  #request: ConnectRequest | undefined
  #session: Session | undefined
  #policy: Policy | undefined
  #requests: RequestHandler | undefined

  constructor(stream: Duplex, origin: Origin, services: ConnectionServices) {
    this.#services = services
    this.#origin = origin
    const { connectTimeoutMs } = services.limits
    this.#timer = setTimeout(() => {
      this.#refuse(new Refusal('connect', 'connect-timeout', `no CONNECT within ${connectTimeoutMs} ms`))
    }, origin.connectWithinMs ?? connectTimeoutMs)
    this.#timer.unref()
    this.#stream = new FaultStream(stream, origin, services, this)
  }

  /** The endpoint closes. */
  shutDown(): void {
    if (this.#state === 'open') {
      this.#close('SERVER_INITIATED_DISCONNECT', 'the endpoint closes', SERVER_SHUTTING_DOWN, false)
    } else if (this.#state !== 'closed') {
      this.#refuse(new Refusal('connect', 'endpoint-closed', 'the endpoint closes'))
    }
  }

  // PacketListener

  onPacket(packet: Packet): void {
    try {
      if (this.#state === 'open') this.#handle(packet)
      else this.#begin(packet)
    } catch (error) {
      if (error instanceof ProtocolError) {
        this.#close(error.disconnectReason, error.message, error.reasonCode)
      } else {
        this.#failUnexpectedly(error)
      }
    }
  }

  onMalformed(error: FramingError): void {
    const code = error.rule === 'packet-too-large' ? PACKET_TOO_LARGE : MALFORMED_PACKET
    if (this.#state === 'open') this.#close('CLIENT_ERROR', error.message, code)
    else this.#refuse(new Refusal('connect', error.rule, error.message))
  }

  onDrain(): void {
    this.#session?.pump()
  }

  onClose(error: Error | undefined): void {
    if (error instanceof FaultEnd) {
      if (this.#state === 'open') this.#close(error.disconnectReason, error.message)
      else this.#refuse(new Refusal('connect', 'fault', error.message))
      return
    }
    const ended = error instanceof StreamEnd ? error : undefined
    const message =
      ended?.message ?? `the client closed the connection${error === undefined ? '' : `: ${error.message}`}`
    const reason = ended?.disconnectReason ?? 'CONNECTION_LOST'
    if (this.#state === 'open') {
      this.#close(reason, message, undefined, reason !== 'CLIENT_INITIATED_DISCONNECT')
    } else if (this.#state !== 'closed') {
      const when = this.#state === 'awaiting-connect' ? 'before it sent CONNECT' : 'while it was authorized'
      const rule = reason === 'CLIENT_ERROR' ? 'websocket-violation' : 'connection-lost'
      this.#refuse(this.#origin.refusal ?? new Refusal('connect', rule, `${message} ${when}`))
    }
  }

  // SessionLink

  get window(): number {
    return Math.min(this.#services.limits.inFlight, this.#request?.receiveMaximum ?? 0)
  }

  get congested(): boolean {
    return this.#stream.congested
  }

  transmit(delivery: Delivery, packetId?: number): boolean {
    const { message, qos, retain } = delivery
    const { topic, payload } = message
    const decision = this.#policy!.receive(topic)
    if (qos === 0 && this.#stream.bufferedBytes > this.#services.limits.outboundBytes) {
      this.drop(message, qos, 'slow-reader')
      return false
    }
    this.#record({ type: 'receive', topic, qos, bytes: payload.length, allowed: decision.allowed, decision })
    if (!decision.allowed) return false
    const { expiresAt } = message
    const packet: Packet = {
      cmd: 'publish',
      topic,
      payload,
      qos,
      retain,
      dup: false,
      ...(packetId !== undefined && { messageId: packetId }),
      ...(this.#request!.protocolVersion === 5 && {
        properties: {
          ...message.properties,
          ...(expiresAt !== undefined && { messageExpiryInterval: remainingExpiry(expiresAt) }),
        },
      }),
    }
    if (this.#stream.send(packet, this.#request!.maximumPacketSize)) return true
    this.drop(message, qos, 'packet-too-large')
    return false
  }

  takeOver(): void {
    this.#close('DUPLICATE_CLIENTID', 'another connection uses this client id', SESSION_TAKEN_OVER)
  }

  drop({ topic }: Message, qos: 0 | 1, reason: NewEvent<Dropped>['reason']): void {
    this.#record({ type: 'dropped', topic, qos, reason })
  }

  // Before CONNACK

  #begin(packet: Packet): void {
    if (packet.cmd !== 'connect') {
      return this.#refuse(
        new Refusal('connect', 'first-packet-not-connect', `the first packet is ${packet.cmd.toUpperCase()}`),
      )
    }
    clearTimeout(this.#timer)
    this.#state = 'authorizing'
    this.#stream.hold()
    this.#connect(packet)
      .catch((error: unknown) => {
        if (error instanceof Refusal) this.#refuse(error)
        else this.#failUnexpectedly(error)
      })
      .finally(() => this.#stream.release())
  }

  async #connect(packet: IConnectPacket): Promise<void> {
    const { limits, authorizers } = this.#services
    this.#stream.setProtocolVersion(readProtocolVersion(packet))
    if (this.#origin.refusal !== undefined) throw this.#origin.refusal
    const request = (this.#request = readConnect(packet, limits))
    this.#stream.identify(request.clientId)
    const { username, password, clientId, clientIdAssigned } = request
    const authenticated = await authorizers.authenticate({
      ...this.#origin,
      mqtt: {
        ...(username !== undefined && { username }),
        ...(password !== undefined && { password }),
        ...(!clientIdAssigned && { clientId }),
      },
    })
    // The client may have gone while its authorizer was thinking.
    if (this.#state !== 'authorizing') return
    this.#open(request, authenticated)
  }

  #open(request: ConnectRequest, { authorizerName, grant }: Authenticated): void {
    const { broker, region, accountId } = this.#services
    const { clientId, protocolVersion, cleanStart, will, keepAliveSeconds, sessionExpirySeconds } = request
    const policy = new Policy(grant.policyDocuments, {
      region,
      accountId,
      clientId,
      sourceIp: this.#origin.remoteAddress,
      persistent: protocolVersion === 3 ? !cleanStart : sessionExpirySeconds > 0,
      ...(will !== undefined && { willTopic: will.topic }),
    })
    const decision = policy.connect()
    refuseUnlessAllowed(decision, 'connect-denied', authorizerName)
    if (will !== undefined) {
      refuseUnlessAllowed(policy.publish(will.topic, will.retain), 'will-denied', authorizerName)
    }

    const { session, present } = broker.openSession(
      { clientId, protocolVersion, expirySeconds: sessionExpirySeconds },
      cleanStart,
    )
    this.#state = 'open'
    this.#policy = policy
    this.#session = session
    this.#requests = new RequestHandler({
      ...this.#services,
      protocolVersion,
      policy,
      session,
      send: (packet) => this.#stream.send(packet, request.maximumPacketSize),
      record: (event) => this.#record(event),
    })
    this.#watchKeepAlive()
    const { principalId, disconnectAfterInSeconds, refreshAfterInSeconds } = grant
    const { serverName } = this.#origin
    this.#record({
      type: 'connected',
      clientId,
      protocolVersion,
      ...(serverName !== undefined && { serverName }),
      authorizerName,
      principalId,
      cleanStart,
      sessionPresent: present,
      keepAliveSeconds,
      sessionExpirySeconds,
      disconnectAfterInSeconds,
      refreshAfterInSeconds,
      decision,
    })
    this.#sendConnack(0, present, grantedProperties(request, this.#services.limits))
    session.attach(this)
  }

  #sendConnack(code: number, sessionPresent: boolean, properties: IConnackPacket['properties'] = {}): void {
    this.#stream.send({ cmd: 'connack', returnCode: code, reasonCode: code, sessionPresent, properties })
  }

  /** No CONNACK 0. IoT Core answers a refused 3.1.1 client with nothing at all. */
  #refuse(refusal: Refusal): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    clearTimeout(this.#timer)
    const { stage, rule, message, codes } = refusal
    this.#record({ type: 'connect-refused', stage, rule, message })
    const version = this.#stream.protocolVersion
    const friendly = this.#services.profile === 'friendly'
    if (version === 5) {
      const explained = friendly && this.#request?.wantsReasonString !== false
      this.#sendConnack(codes.reasonCode, false, explained ? { reasonString: message } : {})
    } else if (version === 3 && friendly) {
      this.#sendConnack(codes.returnCode, false)
    }
    this.#stream.end()
  }

  // After CONNACK

  #handle(packet: Packet): void {
    this.#watchKeepAlive()
    const requests = this.#requests!
    switch (packet.cmd) {
      case 'publish':
        return requests.publish(packet)
      case 'puback':
        return requests.puback(packet)
      case 'subscribe':
        return requests.subscribe(packet)
      case 'unsubscribe':
        return requests.unsubscribe(packet)
      case 'pingreq':
        return void this.#stream.send({ cmd: 'pingresp' })
      case 'disconnect':
        return this.#disconnect(packet)
      default:
        throw new ProtocolError(
          PROTOCOL_ERROR,
          `${packet.cmd.toUpperCase()} is not expected from a connected client`,
        )
    }
  }

  #disconnect(packet: IDisconnectPacket): void {
    const expiry = readNumber(packet.properties?.sessionExpiryInterval, 'Session Expiry Interval')
    const { settings } = this.#session!
    if (expiry !== undefined) {
      if (settings.expirySeconds === 0 && expiry > 0) {
        throw new ProtocolError(
          PROTOCOL_ERROR,
          'DISCONNECT cannot give a session a life that CONNECT did not',
        )
      }
      settings.expirySeconds = Math.min(expiry, this.#services.limits.sessionExpirySeconds)
    }
    const withWill = packet.reasonCode === 0x04
    this.#close('CLIENT_INITIATED_DISCONNECT', 'the client sent DISCONNECT', undefined, withWill)
  }

  /** Starts anew with each packet. Not `timer.refresh()`, which mocked timers do not follow. */
  #watchKeepAlive(): void {
    clearTimeout(this.#timer)
    const seconds = this.#request!.keepAliveSeconds
    this.#timer = setTimeout(() => {
      const message = `nothing came from the client within 1.5 times its keep-alive of ${seconds} s`
      this.#close('MQTT_KEEP_ALIVE_TIMEOUT', message, KEEP_ALIVE_TIMEOUT)
    }, seconds * 1500)
    this.#timer.unref()
  }

  /** The end of an accepted connection; on MQTT 5 a reason code is sent as a DISCONNECT first. */
  #close(reason: DisconnectReason, message: string, reasonCode?: number, publishWill = true): void {
    if (this.#state !== 'open') return
    this.#state = 'closed'
    clearTimeout(this.#timer)
    const { protocolVersion, will, wantsReasonString } = this.#request!
    const { broker, profile } = this.#services
    const willPublished = publishWill && will !== undefined
    this.#record({
      type: 'disconnected',
      clientId: this.#request!.clientId,
      disconnectReason: reason,
      clientInitiated: reason === 'CLIENT_INITIATED_DISCONNECT',
      willPublished,
      message,
    })
    if (protocolVersion === 5 && reasonCode !== undefined) {
      const explained = profile === 'friendly' && wantsReasonString
      this.#stream.end({
        cmd: 'disconnect',
        reasonCode,
        properties: explained ? { reasonString: message } : {},
      })
    } else {
      this.#stream.end()
    }
    broker.leaveSession(this.#session!)
    if (willPublished) broker.publish(createMessage(will))
  }

  /** A fault of ours: it must cost this connection and no other. */
  #failUnexpectedly(error: unknown): void {
    const message = `internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`
    if (this.#state === 'open') this.#close('SERVER_ERROR', message, UNSPECIFIED_ERROR)
    else this.#refuse(new Refusal('connect', 'internal-error', message))
  }

  #record(event: ConnectionEvent): void {
    const clientId = this.#request?.clientId
    this.#services.journal.record({
      connectionId: this.#origin.connectionId,
      ...(clientId !== undefined && { clientId }),
      ...event,
    } as NewEvent)
  }
}

/** An event as a connection writes it: which connection it is about goes without saying. */
export type ConnectionEvent = WithoutConnection<NewEvent>
type WithoutConnection<E> = E extends { connectionId?: string } ? Omit<E, 'connectionId'> : never

export const createOrigin = (remoteAddress: string | undefined): Origin => ({
  connectionId: randomUUID(),
  remoteAddress: remoteAddress ?? '127.0.0.1',
})

function refuseUnlessAllowed(decision: Decision, rule: string, authorizerName: string): void {
  if (decision.allowed) return
  throw new Refusal(
    'policy',
    rule,
    `the policy of authorizer "${authorizerName}": ${explainDecision(decision)}`,
  )
}
