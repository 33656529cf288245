import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import type { ServerCredentials } from './certificates'
import { Connection, createOrigin, type ConnectionServices, type Origin } from './connection'
import { endQuietly } from './packet-stream'
import { Refusal } from './refusal'

export interface FrontDoorOptions {
  credentials: ServerCredentials
  /** Server names (SNI) that this endpoint answers to; `*.` stands for one level. */
  serverNames: readonly string[]
  services: ConnectionServices
}

/** What the first bytes are, where ALPN did not say it. */
export type Opening = 'mqtt' | 'http' | 'unknown'

const MQTT = 'mqtt'
const MQTT_X509 = 'x-amzn-mqtt-ca'
const HTTP = 'http/1.1'
const CLOSE_PATIENCE_MS = 500

/** The TLS listener: decides by ALPN and server name who may speak MQTT with an authorizer. */
export class FrontDoor {
  readonly #options: FrontDoorOptions
  readonly #server: Server
  /** By remote address and port: the TLS socket does not say which socket it sits on. */
  readonly #handshaking = new Map<string, Socket>()
  readonly #sockets = new Set<TLSSocket>()
  readonly #connections = new Set<Connection>()

  constructor(options: FrontDoorOptions) {
    this.#options = options
    const { credentials, services } = options
    this.#server = createServer(
      {
        cert: credentials.cert,
        key: credentials.key,
        minVersion: 'TLSv1.2',
        handshakeTimeout: services.limits.connectTimeoutMs,
        // Without a common protocol the handshake ends with alert 120, as it should.
        ALPNCallback: ({ protocols }) => [MQTT, MQTT_X509, HTTP].find((known) => protocols.includes(known)),
      },
      (socket) => this.#welcome(socket),
    )
    this.#server.on('connection', (socket: Socket) => {
      socket.setNoDelay(true)
      const peer = describePeer(socket)
      this.#handshaking.set(peer, socket)
      socket.once('close', () => this.#handshaking.delete(peer))
    })
    this.#server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
      this.#recordRefusal(createOrigin(socket.remoteAddress), describeTlsError(error))
      // Node leaves that socket open; in other cases the alert is still on its way.
      if (error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT') socket.destroy()
    })
  }

  async listen(port: number, host: string): Promise<number> {
    this.#server.listen({ port, host, backlog: 4096 }) // a fleet connects at once
    await once(this.#server, 'listening')
    return (this.#server.address() as AddressInfo).port
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const socket of this.#handshaking.values()) socket.destroy()
    for (const connection of this.#connections) connection.shutDown()
    for (const socket of this.#sockets) endQuietly(socket)
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy()
    }, CLOSE_PATIENCE_MS)
    await closed
    clearTimeout(timer)
  }

  #welcome(socket: TLSSocket): void {
    this.#handshaking.delete(describePeer(socket))
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    const { alpnProtocol } = socket
    // A reset before anybody else listens must not become an uncaught error.
    socket.on('error', () => undefined)
    if (typeof alpnProtocol === 'string') return this.#route(socket, alpnProtocol === HTTP ? 'http' : 'mqtt')

    const { connectTimeoutMs } = this.#options.services.limits
    const timer = setTimeout(() => socket.destroy(), connectTimeoutMs)
    timer.unref()
    socket.once('close', () => clearTimeout(timer))
    socket.once('data', (chunk: Buffer) => {
      clearTimeout(timer)
      socket.pause()
      socket.unshift(chunk)
      this.#route(socket, recognize(chunk))
    })
  }

  #route(socket: TLSSocket, opening: Opening): void {
    const { serverNames, services } = this.#options
    const serverName = readServerName(socket)
    const origin: Origin = { ...createOrigin(socket.remoteAddress), ...(serverName && { serverName }) }
    const refusal = judge(socket.alpnProtocol || undefined, serverName, opening, serverNames)
    if (refusal === undefined) return this.#speakMqtt(socket, origin)
    if (services.profile === 'friendly' && opening === 'mqtt') {
      return this.#speakMqtt(socket, { ...origin, refusal })
    }
    this.#recordRefusal(origin, refusal)
    if (services.profile === 'friendly' && opening === 'http') socket.write(httpAnswer(refusal.message))
    endQuietly(socket)
  }

  #speakMqtt(socket: TLSSocket, origin: Origin): void {
    const connection = new Connection(socket, origin, this.#options.services)
    this.#connections.add(connection)
    socket.once('close', () => this.#connections.delete(connection))
  }

  #recordRefusal({ connectionId }: Origin, { stage, rule, message }: Refusal): void {
    this.#options.services.journal.record({ type: 'connect-refused', connectionId, stage, rule, message })
  }
}

const describePeer = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`

/** Why a TLS connection may not speak MQTT with custom authentication; undefined if it may. */
export function judge(
  alpn: string | undefined,
  serverName: string | undefined,
  opening: Opening,
  serverNames: readonly string[],
): Refusal | undefined {
  const refuse = (rule: string, message: string): Refusal => new Refusal('front-door', rule, message)
  if (opening === 'http')
    return refuse('http-not-served', 'HTTP and WebSocket are not served by this endpoint')
  if (opening === 'unknown') return refuse('not-mqtt', 'what the client sent is not MQTT')
  if (alpn === MQTT_X509) {
    return refuse(
      'alpn-needs-certificate',
      `ALPN "${MQTT_X509}" asks for a client certificate; offer "${MQTT}"`,
    )
  }
  if (alpn === undefined) {
    return refuse(
      'alpn-missing',
      `the client offered no ALPN; MQTT with custom authentication needs "${MQTT}"`,
    )
  }
  if (serverName === undefined) {
    return refuse(
      'server-name-missing',
      'the client sent no server name (SNI), so there is no account to ask',
    )
  }
  if (!serverNames.some((known) => covers(known, serverName))) {
    const message = `the server name "${serverName}" (SNI) is none of this endpoint's: ${serverNames.join(', ')}`
    return refuse('server-name-unknown', message)
  }
  return undefined
}

function covers(known: string, serverName: string): boolean {
  const [wanted, given] = [known.toLowerCase(), serverName.toLowerCase()]
  if (!wanted.startsWith('*.')) return wanted === given
  return given.indexOf('.') > 0 && given.slice(given.indexOf('.')) === wanted.slice(1)
}

/** CONNECT begins with 0x10, an HTTP request with a capital letter. */
function recognize(chunk: Buffer): Opening {
  const first = chunk[0]!
  if (first === 0x10) return 'mqtt'
  return first >= 0x41 && first <= 0x5a ? 'http' : 'unknown'
}

/** Not in @types/node: the server name that the client sent, or false. */
function readServerName(socket: TLSSocket): string | undefined {
  return (socket as TLSSocket & { servername?: string | false | null }).servername || undefined
}

function describeTlsError(error: NodeJS.ErrnoException): Refusal {
  const refuse = (rule: string, message: string): Refusal => new Refusal('tls', rule, message)
  const code = error.code ?? ''
  if (/NO_APPLICATION_PROTOCOL/.test(code)) {
    return refuse(
      'alpn-unknown',
      `the client offered no ALPN protocol that is known here; custom authentication needs "${MQTT}"`,
    )
  }
  if (/UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_UNKNOWN|UNSUPPORTED_CERTIFICATE/.test(code)) {
    return refuse(
      'certificate-not-trusted',
      `the client does not accept the certificate; give it the caFile (${code})`,
    )
  }
  if (/HTTP_REQUEST|WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG/.test(code)) {
    return refuse('not-tls', `the client does not speak TLS (${code})`)
  }
  if (/UNSUPPORTED_PROTOCOL|VERSION_TOO_LOW|ALERT_PROTOCOL_VERSION/.test(code)) {
    return refuse('tls-version', `TLS 1.2 or 1.3 is needed (${code})`)
  }
  if (code === 'ECONNRESET') return refuse('handshake-aborted', 'the client left during the TLS handshake')
  return refuse('handshake-failed', `the TLS handshake failed: ${error.message}`)
}

function httpAnswer(message: string): string {
  const body = `${message}\n`
  return (
    'HTTP/1.1 501 Not Implemented\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n' +
    `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
  )
}
