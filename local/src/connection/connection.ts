import type { Duplex } from 'node:stream'
import type { IConnackPacket, IConnectPacket, IDisconnectPacket, Packet } from 'mqtt-packet'
import type { Authenticated, Authorizers } from '../authorizer/authorizer'
import type { Broker } from '../broker/broker'
import { connackCode, type Choices } from '../choices'
import type { Clock, ClockTimer } from '../clock'
import type { ConnectRate } from './connect-rate'
import { grantedProperties, readConnect, readProtocolVersion, type ConnectRequest } from './connect-request'
import type { DisconnectReason, Journal, NewEvent } from '../events'
import { FaultEnd, FaultStream } from '../faults/fault-stream'
import type { FaultRegistry } from '../faults/faults'
import type { FramingError } from './framing'
import { GrantLife } from './grant-life'
import type { Lifecycle, LifecycleSubject } from '../broker/lifecycle'
import type { Limits } from '../limits'
import { readNumber } from '../broker/message'
import type { Origin } from '../front-door/origin'
import { createDropReport, Outlet } from './outlet'
import type { PacketListener } from './packet-stream'
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
import type { Holdings, Session } from '../broker/session'
import { StreamEnd } from '../front-door/stream-end'
import { Throughput } from './throughput'
import { TokenBucket } from './token-bucket'

/** How IoT Core itself refuses, or with a reason wherever the protocol has room for one. */
export type Profile = 'aws' | 'friendly'

/** What all connections of an endpoint share. */
export interface ConnectionServices {
  profile: Profile
  choices: Choices
  clock: Clock
  region: string
  accountId: string
  limits: Limits
  journal: Journal
  authorizers: Authorizers
  broker: Broker
  faults: FaultRegistry
  lifecycle: Lifecycle
  connectRate: ConnectRate
  /** What waits for slow readers, over all connections. */
  outputTotal: Holdings
}

/** One MQTT connection from CONNECT to its end. */
export class Connection implements PacketListener {
  readonly #services: ConnectionServices
  readonly #origin: Origin
  readonly #stream: FaultStream
  #state: 'awaiting-connect' | 'authorizing' | 'open' | 'closed' = 'awaiting-connect'
  /** Until CONNECT is complete the time limit for it; afterwards keep-alive. */
  #timer: ClockTimer
  readonly #throughput: Throughput
  #request: ConnectRequest | undefined
  #session: Session | undefined
  #grantLife: GrantLife | undefined
  #outlet: Outlet | undefined
  #requests: RequestHandler | undefined

  constructor(stream: Duplex, origin: Origin, services: ConnectionServices) {
    this.#services = services
    this.#origin = origin
    const { connectTimeoutMs } = services.limits
    this.#timer = services.clock.setTimeout(() => {
      this.#refuse(new Refusal('connect', 'connect-timeout', `no CONNECT within ${connectTimeoutMs} ms`))
    }, origin.connectWithinMs ?? connectTimeoutMs)
    this.#stream = new FaultStream(stream, origin, services, this)
    this.#throughput = new Throughput(stream, this.#stream, services.clock, services.limits.bytesPerSecond)
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
        this.#close(error.disconnectReason, error.message, error.silent ? undefined : error.reasonCode)
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
    this.#outlet?.settle()
    this.#session?.pump()
  }

  onWrite(bytes: number): void {
    this.#throughput.carried(bytes)
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

  // Before CONNACK

  #begin(packet: Packet): void {
    if (packet.cmd !== 'connect') {
      return this.#refuse(
        new Refusal('connect', 'first-packet-not-connect', `the first packet is ${packet.cmd.toUpperCase()}`),
      )
    }
    this.#timer.cancel()
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
    const { limits, authorizers, connectRate } = this.#services
    this.#stream.setProtocolVersion(readProtocolVersion(packet))
    if (this.#origin.refusal !== undefined) throw this.#origin.refusal
    const request = (this.#request = readConnect(packet, limits))
    this.#stream.identify(request.clientId)
    const { username, password, clientId, clientIdAssigned } = request
    connectRate.admit(clientId)
    // A refresh asks with the same event data and connection id.
    const authenticate = (): Promise<Authenticated> =>
      authorizers.authenticate({
        ...this.#origin,
        mqtt: {
          ...(username !== undefined && { username }),
          ...(password !== undefined && { password }),
          ...(!clientIdAssigned && { clientId }),
        },
      })
    const authenticated = await authenticate()
    // The client may have gone while its authorizer was thinking.
    if (this.#state !== 'authorizing') return
    this.#open(request, authenticated, authenticate)
  }

  #open(
    request: ConnectRequest,
    authenticated: Authenticated,
    authenticate: () => Promise<Authenticated>,
  ): void {
    const { authorizerName, grant } = authenticated
    const { broker, limits, clock, lifecycle } = this.#services
    const { clientId, protocolVersion, cleanStart, keepAliveSeconds, sessionExpirySeconds } = request
    const record = (event: ConnectionEvent): void => this.#record(event)
    const grantLife = (this.#grantLife = new GrantLife(authenticated, {
      ...this.#services,
      request,
      sourceIp: this.#origin.remoteAddress,
      certificate: this.#origin.certificate,
      authenticate,
      end: (reason, message, reasonCode) => this.#close(reason, message, reasonCode),
      failUnexpectedly: (error) => this.#failUnexpectedly(error),
      record,
    }))
    const { decision, willDecision } = grantLife.admit()

    const { session, present } = broker.openSession(
      { clientId, protocolVersion, expirySeconds: sessionExpirySeconds },
      cleanStart,
    )
    this.#state = 'open'
    this.#session = session
    const publishes = new TokenBucket(clock, limits.publishesPerSecond)
    this.#requests = new RequestHandler({
      ...this.#services,
      protocolVersion,
      get policy() {
        return grantLife.policy
      },
      session,
      send: (packet) => this.#stream.send(packet, request.maximumPacketSize),
      record,
      admitPublish: () => publishes.take(),
      announce: (eventType, topics) => lifecycle[eventType](this.#subject, topics),
    })
    const outlet = (this.#outlet = new Outlet({
      limits,
      outputTotal: this.#services.outputTotal,
      clock,
      request,
      grant: grantLife,
      stream: this.#stream,
      publishes,
      pump: () => session.pump(),
      takeOver: () =>
        this.#close('DUPLICATE_CLIENTID', 'another connection uses this client id', SESSION_TAKEN_OVER),
      record,
      drop: createDropReport(this.#services.journal, this.#origin.connectionId, clientId),
    }))
    grantLife.begin()
    this.#watchKeepAlive()
    const { principalId, disconnectAfterInSeconds, refreshAfterInSeconds } = grant
    const { serverName, http } = this.#origin
    this.#record({
      type: 'connected',
      clientId,
      protocolVersion,
      transport: http === undefined ? 'tls' : 'websocket',
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
      ...(willDecision !== undefined && { willDecision }),
    })
    this.#sendConnack(0, present, grantedProperties(request, limits))
    session.attach(outlet)
    lifecycle.connected(this.#subject)
  }

  #sendConnack(code: number, sessionPresent: boolean, properties: IConnackPacket['properties'] = {}): void {
    this.#stream.send({ cmd: 'connack', returnCode: code, reasonCode: code, sessionPresent, properties })
  }

  /** No CONNACK 0. IoT Core answers a refused 3.1.1 client with nothing at all. */
  #refuse(refusal: Refusal): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#stopTimers()
    const { stage, rule, message, decision } = refusal
    this.#record({
      type: 'connect-refused',
      stage,
      rule,
      message,
      ...(decision !== undefined && { decision }),
    })
    const { profile, choices, lifecycle } = this.#services
    const version = this.#stream.protocolVersion
    const code = version && connackCode(refusal, version, choices)
    if (code !== undefined) {
      const explained = profile === 'friendly' && this.#request?.wantsReasonString !== false
      this.#sendConnack(code, false, version === 5 && explained ? { reasonString: message } : {})
    }
    this.#stream.end()
    const unauthorized = stage === 'signature' || stage === 'authorizer' || stage === 'policy'
    if (unauthorized && this.#request !== undefined) lifecycle.connectFailed(this.#subject)
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
    this.#timer.cancel()
    const seconds = this.#request!.keepAliveSeconds
    this.#timer = this.#services.clock.setTimeout(() => {
      const message = `nothing came from the client within 1.5 times its keep-alive of ${seconds} s`
      this.#close('MQTT_KEEP_ALIVE_TIMEOUT', message, KEEP_ALIVE_TIMEOUT)
    }, seconds * 1500)
  }

  #stopTimers(): void {
    this.#timer.cancel()
    this.#throughput.stop()
    this.#grantLife?.stop()
    this.#outlet?.close()
  }

  get #subject(): LifecycleSubject {
    const { connectionId, remoteAddress: ipAddress } = this.#origin
    const principalId = this.#grantLife?.principalId
    return { clientId: this.#request!.clientId, connectionId, ipAddress, principalId }
  }

  /** The end of an accepted connection; on MQTT 5 a reason code is sent as a DISCONNECT first. */
  #close(reason: DisconnectReason, message: string, reasonCode?: number, publishWill = true): void {
    if (this.#state !== 'open') return
    this.#state = 'closed'
    this.#stopTimers()
    const { protocolVersion, will, wantsReasonString } = this.#request!
    const { broker, profile, lifecycle } = this.#services
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
    if (willPublished) broker.publish(will)
    lifecycle.disconnected(this.#subject, reason)
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
