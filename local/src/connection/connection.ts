import type { Duplex } from 'node:stream'
import type { IConnectPacket, IDisconnectPacket, Packet } from 'mqtt-packet'
import type { Authenticated } from '../authorizer/authorizer'
import { connackCode } from '../choices'
import type { ClockTimer } from '../clock'
import type { ConnectionServices } from './connection-services'
import { grantedProperties, readConnect, type ConnectRequest } from './connect-request'
import type { DisconnectReason, NewEvent } from '../events'
import { FaultEnd, FaultStream } from '../faults/fault-stream'
import type { FramingError } from './framing'
import { GrantLife } from './grant-life'
import type { LifecycleSubject } from '../broker/lifecycle'
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
import type { Session } from '../broker/session'
import { StreamEnd } from '../front-door/stream-end'
import { Throughput } from './throughput'
import { TokenBucket } from './token-bucket'

const CLIENT_ID_TAKEN_OVER = { returnCode: 2, reasonCode: UNSPECIFIED_ERROR }

/** One MQTT connection from CONNECT to its end. */
export class Connection implements PacketListener {
  static #connects = 0
  readonly #services: ConnectionServices
  readonly #origin: Origin
  readonly #stream: FaultStream
  #state: 'awaiting-connect' | 'authorizing' | 'open' | 'closed' = 'awaiting-connect'
  /** Until CONNECT is complete the time limit for it; afterwards keep-alive. */
  #timer: ClockTimer
  readonly #throughput: Throughput
  /** Its place among all CONNECTs; the handlers of later ones may answer earlier. */
  #number = 0
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
    this.#number = ++Connection.#connects
    this.#state = 'authorizing'
    this.#stream.setHandingOut(false)
    this.#connect(packet)
      .catch((error: unknown) => {
        if (error instanceof Refusal) this.#refuse(error)
        else this.#failUnexpectedly(error)
      })
      .finally(() => this.#stream.setHandingOut(true))
  }

  async #connect(packet: IConnectPacket): Promise<void> {
    const { limits, authorizers, connectRate } = this.#services
    // Even one that is refused for its version gets its answer in the nearest.
    this.#stream.setProtocolVersion(packet.protocolVersion === 5 ? 5 : 3)
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
    if ((broker.linkOf(clientId)?.number ?? 0) > this.#number) {
      const message = 'another connection with this client id sent CONNECT later and is open'
      throw new Refusal('connect', 'client-id-taken-over', message, CLIENT_ID_TAKEN_OVER)
    }
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
      number: this.#number,
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
    this.#stream.send({
      cmd: 'connack',
      returnCode: 0,
      reasonCode: 0,
      sessionPresent: present,
      properties: grantedProperties(request, limits),
    })
    session.attach(outlet)
    lifecycle.connected(this.#subject)
  }

  /** Sends a packet with a Reason String, or without where the client wants none or the packet would be too large. */
  #explain(message: string, createPacket: (properties: { reasonString?: string }) => Packet): void {
    const { maximumPacketSize, wantsReasonString = true } = this.#request ?? {}
    const send = (properties: { reasonString?: string }): boolean =>
      this.#stream.send(createPacket(properties), maximumPacketSize)
    const explained =
      this.#services.profile === 'friendly' && this.#stream.protocolVersion === 5 && wantsReasonString
    if (!explained || !send({ reasonString: message })) send({})
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
    const { choices, lifecycle } = this.#services
    const version = this.#stream.protocolVersion
    const code = version && connackCode(refusal, version, choices)
    if (code !== undefined) {
      this.#explain(message, (properties) => ({
        cmd: 'connack',
        returnCode: code,
        reasonCode: code,
        sessionPresent: false,
        properties,
      }))
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
    const { clock, limits } = this.#services
    const { keepAliveFactor: factor } = limits
    if (factor === Infinity) return
    const seconds = this.#request!.keepAliveSeconds
    this.#timer = clock.setTimeout(
      () => {
        const message = `nothing came from the client within ${factor} times its keep-alive of ${seconds} s`
        this.#close('MQTT_KEEP_ALIVE_TIMEOUT', message, KEEP_ALIVE_TIMEOUT)
      },
      seconds * factor * 1000,
    )
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
    const { protocolVersion, will } = this.#request!
    const { broker, lifecycle } = this.#services
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
      this.#explain(message, (properties) => ({ cmd: 'disconnect', reasonCode, properties }))
    }
    this.#stream.end()
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
