import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import type { ClientCertificate } from '../authorizer/authorizer-event'
import type { ServerCredentials } from './certificates'
import { Connection } from '../connection/connection'
import type { ConnectionServices } from '../connection/connection-services'
import type { Domains } from './domains'
import { Guest } from './guest'
import { HttpDoor, refuseHttp } from './http-door'
import { createOrigin, type Origin } from './origin'
import { endQuietly } from '../connection/packet-stream'
import { Refusal } from '../connection/refusal'
import { describeTlsError, HTTP, judge, MQTT, MQTT_X509, recognize, type Opening } from './routing'

export interface FrontDoorOptions {
  credentials: ServerCredentials
  domains: Domains
  services: ConnectionServices
}

const CLOSE_PATIENCE_MS = 500

/** The TLS listener: decides by ALPN, server name and first byte who may speak MQTT with an authorizer, and how. */
export class FrontDoor {
  readonly #options: FrontDoorOptions
  readonly #server: Server
  readonly #http: HttpDoor
  /** By remote address and port: the TLS socket does not say which socket it sits on. */
  readonly #handshaking = new Map<string, Handshake>()
  readonly #sockets = new Set<TLSSocket>()
  readonly #guests = new Set<Guest>()
  readonly #connections = new Set<Connection>()

  constructor(options: FrontDoorOptions) {
    this.#options = options
    const { credentials, services, domains } = options
    this.#http = new HttpDoor({
      domains,
      services,
      accept: (guest, stream, origin) => this.#speakMqtt(guest, stream, origin),
    })
    this.#server = createServer(
      {
        cert: credentials.cert,
        key: credentials.key,
        minVersion: 'TLSv1.2',
        handshakeTimeout: services.limits.connectTimeoutMs,
        // Asked of everybody, since only the server name says who needs one; which is wanted is judged later.
        requestCert: true,
        rejectUnauthorized: false,
        // Without a common protocol the handshake ends with alert 120, as it should.
        ALPNCallback: ({ protocols }) => [MQTT, MQTT_X509, HTTP].find((known) => protocols.includes(known)),
      },
      (socket) => this.#welcome(socket),
    )
    this.#server.maxConnections = services.limits.connections
    this.#server.on('drop', (peer) => {
      const message = `there are ${services.limits.connections} connections already (limits.connections)`
      this.#recordRefusal(
        createOrigin(peer?.remoteAddress),
        new Refusal('front-door', 'too-many-connections', message),
      )
    })
    this.#server.on('connection', (socket: Socket) => {
      socket.setNoDelay(true)
      const peer = describePeer(socket)
      this.#handshaking.set(peer, { socket, acceptedAt: services.clock.now() })
      socket.once('close', () => this.#handshaking.delete(peer))
    })
    this.#server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
      this.#recordRefusal(createOrigin(socket.remoteAddress), describeTlsError(error))
      // Node reports a handshake that takes too long, and leaves the socket as it is.
      if (error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT') socket.destroy()
    })
  }

  /** Resolves with where it listens. */
  async listen(port: number, host: string): Promise<AddressInfo> {
    this.#server.listen({ port, host, backlog: 4096 }) // a fleet connects at once
    await once(this.#server, 'listening')
    return this.#server.address() as AddressInfo
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#http.close()
    for (const { socket } of this.#handshaking.values()) socket.destroy()
    for (const connection of this.#connections) connection.shutDown()
    for (const guest of this.#guests) {
      guest.refuse(new Refusal('connect', 'endpoint-closed', 'the endpoint closes'))
      endQuietly(guest.socket)
    }
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy()
    }, CLOSE_PATIENCE_MS)
    await closed
    clearTimeout(timer)
  }

  #welcome(socket: TLSSocket): void {
    const peer = describePeer(socket)
    const acceptedAt = this.#handshaking.get(peer)?.acceptedAt ?? this.#options.services.clock.now()
    this.#handshaking.delete(peer)
    const guest = new Guest(socket, this.#createOrigin(socket), acceptedAt, this.#options.services)
    this.#sockets.add(socket)
    this.#guests.add(guest)
    socket.once('close', () => {
      this.#sockets.delete(socket)
      this.#guests.delete(guest)
    })

    // Where ALPN promises MQTT, IoT Core does not wait for it to turn somebody away.
    const { alpnProtocol } = socket
    const promised = alpnProtocol === MQTT || alpnProtocol === MQTT_X509
    const refusal = promised ? this.#judge(guest, 'mqtt') : undefined
    if (refusal !== undefined && this.#options.services.profile === 'aws') {
      return this.#turnAway(guest, refusal, 'unknown')
    }
    socket.once('data', (chunk: Buffer) => {
      socket.pause()
      socket.unshift(chunk)
      if (!guest.settled) this.#route(guest, recognize(chunk))
    })
  }

  #createOrigin(socket: TLSSocket): Origin {
    const serverName = readServerName(socket)
    const domain = this.#options.domains.find(serverName)
    const certificate =
      domain?.authenticationType === 'CUSTOM_AUTH_X509' ? readCertificate(socket) : undefined
    return {
      ...createOrigin(socket.remoteAddress),
      ...(serverName !== undefined && { serverName }),
      ...(domain !== undefined && { domain }),
      ...(certificate !== undefined && { certificate }),
    }
  }

  #judge({ socket, origin: { serverName } }: Guest, opening: Opening): Refusal | undefined {
    const alpn = socket.alpnProtocol || undefined
    const hasCertificate = socket.getPeerX509Certificate() !== undefined
    return judge({ alpn, serverName, opening, hasCertificate }, this.#options.domains)
  }

  #route(guest: Guest, opening: Opening): void {
    const refusal = this.#judge(guest, opening)
    if (refusal !== undefined) return this.#turnAway(guest, refusal, opening)
    if (opening === 'http') return this.#http.enter(guest)
    this.#speakMqtt(guest, guest.socket, guest.origin)
  }

  #turnAway(guest: Guest, refusal: Refusal, opening: Opening): void {
    const friendly = this.#options.services.profile === 'friendly'
    if (friendly && opening === 'mqtt') {
      return this.#speakMqtt(guest, guest.socket, { ...guest.origin, refusal })
    }
    guest.refuse(refusal)
    if (friendly && opening === 'http') refuseHttp(guest.socket, refusal)
    endQuietly(guest.socket)
  }

  #speakMqtt(guest: Guest, stream: Duplex, origin: Origin): void {
    const connectWithinMs = guest.remainingMs
    guest.becomeConnection()
    this.#guests.delete(guest)
    const connection = new Connection(stream, { ...origin, connectWithinMs }, this.#options.services)
    this.#connections.add(connection)
    guest.socket.once('close', () => this.#connections.delete(connection))
  }

  #recordRefusal({ connectionId }: Origin, { stage, rule, message }: Refusal): void {
    this.#options.services.journal.record({ type: 'connect-refused', connectionId, stage, rule, message })
  }
}

interface Handshake {
  socket: Socket
  acceptedAt: number
}

const describePeer = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`

/** Not in @types/node: the server name that the client sent, or false. */
function readServerName(socket: TLSSocket): string | undefined {
  return (socket as TLSSocket & { servername?: string | false | null }).servername || undefined
}

/** IoT Core's id of a certificate is the SHA-256 fingerprint of its DER form. */
function readCertificate(socket: TLSSocket): ClientCertificate | undefined {
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) return undefined
  return { pem: certificate.toString(), id: createHash('sha256').update(certificate.raw).digest('hex') }
}
