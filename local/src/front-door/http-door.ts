import { createServer, STATUS_CODES, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { WebSocketServer, type ServerOptions } from 'ws'
import type { HttpRequest } from '../authorizer/authorizer-event'
import type { ConnectionServices } from '../connection/connection-services'
import type { Domains } from './domains'
import type { Guest } from './guest'
import type { Origin } from './origin'
import { endQuietly } from '../connection/packet-stream'
import { Refusal } from '../connection/refusal'
import { shorten } from '../shorten'
import { judgeWebSocket } from './routing'
import { WebSocketStream } from './websocket-stream'

export interface HttpDoorOptions {
  domains: Domains
  services: ConnectionServices
  /** A WebSocket was opened; MQTT is spoken on `stream`. */
  accept(guest: Guest, stream: Duplex, origin: Origin): void
}

const PATH = '/mqtt'
const SUBPROTOCOLS = new Set(['mqtt', 'mqttv3.1'])
/** For the client's Close frame in answer to ours. */
const CLOSE_TIMEOUT_MS = 2000

/** HTTP on sockets that the front door hands over: opens WebSockets at `/mqtt`, and answers all else with why not. */
export class HttpDoor {
  readonly #options: HttpDoorOptions
  readonly #guests = new WeakMap<Duplex, Guest>()
  readonly #server: Server
  readonly #webSockets: WebSocketServer

  constructor(options: HttpDoorOptions) {
    this.#options = options
    const { httpHeaderBytes, webSocketMessageBytes } = options.services.limits
    this.#server = createServer({ maxHeaderSize: httpHeaderBytes, requireHostHeader: false })
    this.#server.on('request', (request, response) => this.#answer(request, response))
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head))
    this.#server.on('connect', (request, socket) => this.#refuseRaw(socket, judgeRequest(request)!))
    this.#server.on('clientError', (error, socket) => this.#refuseRaw(socket, describeHttpError(error)))
    const webSocketOptions: ServerOptions & { closeTimeout: number } = {
      noServer: true,
      clientTracking: false,
      maxPayload: webSocketMessageBytes,
      // A message may come in crumbs, but not in so many that keeping track of them costs more than the message.
      maxBufferedChunks: 8192,
      maxFragments: 4096,
      closeTimeout: CLOSE_TIMEOUT_MS,
      handleProtocols: (offered) => [...offered].find((name) => SUBPROTOCOLS.has(name)) ?? false,
    }
    this.#webSockets = new WebSocketServer(webSocketOptions)
    this.#webSockets.on('wsClientError', (error, socket) => {
      this.#refuseRaw(socket, { status: 400, refusal: refuse('websocket-handshake', error.message) })
    })
  }

  enter(guest: Guest): void {
    this.#guests.set(guest.socket, guest)
    this.#server.emit('connection', guest.socket)
    guest.socket.resume() // the front door paused it
  }

  close(): void {
    this.#server.close()
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const guest = this.#guests.get(socket)
    if (guest === undefined || guest.settled) return void socket.destroy()
    const serverName = guest.origin.serverName ?? readHost(request)
    const refused = judgeRequest(request) ?? judgeUpgrade(request) ?? this.#judgeDomain(serverName)
    if (refused !== undefined) return this.#refuseRaw(socket, refused)

    const domain = this.#options.domains.find(serverName)!
    const origin: Origin = { ...guest.origin, socket: guest.socket, domain, http: describeRequest(request) }
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      this.#options.accept(guest, new WebSocketStream(webSocket, socket), origin)
    })
  }

  #judgeDomain(serverName: string | undefined): HttpRefusal | undefined {
    const refusal = judgeWebSocket(serverName, this.#options.domains)
    return refusal && { status: 403, refusal }
  }

  /** A request that asks for no upgrade. */
  #answer(request: IncomingMessage, response: ServerResponse): void {
    const guest = this.#guests.get(request.socket)
    // The connection is closed after one answer; what was sent along with the request is nobody's.
    if (guest === undefined || guest.settled) return
    const refused = judgeRequest(request) ?? UPGRADE_REQUIRED
    guest.refuse(refused.refusal)
    const body = this.#body(refused)
    response.writeHead(refused.status, answerHeaders(refused, body))
    response.end(body)
    request.resume()
  }

  #refuseRaw(socket: Duplex, refused: HttpRefusal): void {
    this.#guests.get(socket)?.refuse(refused.refusal)
    if (socket.writable) socket.write(formatAnswer(refused, this.#body(refused)))
    endQuietly(socket)
  }

  #body({ status, refusal }: HttpRefusal): string {
    // What only this endpoint lacks is always explained.
    const explained = this.#options.services.profile === 'friendly' || status === 501
    return httpBody(explained ? refusal.message : STATUS_CODES[status]!)
  }
}

/** An answer to HTTP from where no HTTP is served. */
export function refuseHttp(socket: TLSSocket, refusal: Refusal): void {
  const refused = { status: 400, refusal }
  socket.write(formatAnswer(refused, httpBody(refusal.message)))
}

interface HttpRefusal {
  status: number
  refusal: Refusal
}

const refuse = (rule: string, message: string): Refusal => new Refusal('front-door', rule, message)

const UPGRADE_REQUIRED: HttpRefusal = {
  status: 426,
  refusal: refuse('http-upgrade-missing', `${PATH} is for WebSocket; the request asks for no upgrade to it`),
}

/** Judges what a request with and one without an upgrade have in common. */
function judgeRequest({ method, url = '', headers }: IncomingMessage): HttpRefusal | undefined {
  const [path = ''] = url.split('?')
  const shown = shorten(path, 103)
  if (method === 'POST' && path.startsWith('/topics/')) {
    const message = 'this endpoint does not take messages over HTTPS; publish over MQTT or WebSocket'
    return { status: 501, refusal: refuse('http-publish-not-served', message) }
  }
  if (path !== PATH) {
    return { status: 404, refusal: refuse('http-path-unknown', `there is no "${shown}"; try ${PATH}`) }
  }
  if (method !== 'GET') {
    const message = `${PATH} is for GET with an upgrade to WebSocket, the request is ${method}`
    return { status: 405, refusal: refuse('http-method', message) }
  }
  if (/[?&]x-amz-(algorithm|signature)=/i.test(url) || /^AWS4-/i.test(headers.authorization ?? '')) {
    const message =
      'the request is signed (SigV4), so no authorizer is asked, and nothing else is served here'
    return { status: 403, refusal: refuse('http-sigv4', message) }
  }
  return undefined
}

function judgeUpgrade({ headers }: IncomingMessage): HttpRefusal | undefined {
  if (headers.upgrade?.toLowerCase() !== 'websocket') return UPGRADE_REQUIRED
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim())
  if (offered.some((name) => SUBPROTOCOLS.has(name))) return undefined
  const message =
    'Sec-WebSocket-Protocol must be "mqtt" (or "mqttv3.1"), ' +
    (offered[0] === '' ? 'the client sent none' : 'the client sent neither')
  return { status: 400, refusal: refuse('websocket-protocol', message) }
}

/** The request as an authorizer sees it. */
function describeRequest({ headers, url = '' }: IncomingMessage): HttpRequest {
  const query = url.indexOf('?')
  return {
    headers: {
      ...Object.fromEntries(
        Object.entries(headers).map(([name, value]) => [
          name,
          Array.isArray(value) ? value.join(', ') : value!,
        ]),
      ),
      'content-length': headers['content-length'] ?? '0', // IoT Core adds it
    },
    queryString: query < 0 || query === url.length - 1 ? '' : url.slice(query),
  }
}

const readHost = ({ headers }: IncomingMessage): string | undefined =>
  headers.host?.replace(/:\d+$/, '') || undefined

function describeHttpError(error: NodeJS.ErrnoException): HttpRefusal {
  if (error.code === 'ECONNRESET') {
    const message = 'the client closed the connection before its HTTP request was complete'
    return { status: 400, refusal: new Refusal('connect', 'connection-lost', message) }
  }
  if (error.code === 'HPE_HEADER_OVERFLOW') {
    return {
      status: 431,
      refusal: refuse('http-header-too-large', 'the header of the HTTP request is too large'),
    }
  }
  return {
    status: 400,
    refusal: refuse('http-malformed', `what the client sent is no HTTP: ${error.message}`),
  }
}

function answerHeaders({ status }: HttpRefusal, body: string): Record<string, string> {
  return {
    connection: status === 426 ? 'upgrade, close' : 'close',
    ...(status === 426 && { upgrade: 'websocket' }),
    ...(status === 405 && { allow: 'GET' }),
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
  }
}

function formatAnswer(refused: HttpRefusal, body: string): string {
  const headers = Object.entries(answerHeaders(refused, body)).map(([name, value]) => `${name}: ${value}\r\n`)
  return `HTTP/1.1 ${refused.status} ${STATUS_CODES[refused.status]}\r\n${headers.join('')}\r\n${body}`
}

const httpBody = (message: string): string => `${JSON.stringify({ message })}\n`
