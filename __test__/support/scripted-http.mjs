import { once } from 'node:events'
import { connect, createServer as createTcpServer } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { createServerCredentials } from '../../local/dist/front-door/certificates.js'

/** Reads the head of a request, and gives what came behind it back to the socket. */
async function readHead(socket) {
  const bytes = await new Promise((resolve) => {
    let read = Buffer.alloc(0)
    const more = (chunk) => {
      read = Buffer.concat([read, chunk])
      if (!read.includes('\r\n\r\n')) return
      socket.off('data', more)
      socket.pause()
      resolve(read)
    }
    socket.on('data', more)
  })
  const end = bytes.indexOf('\r\n\r\n')
  const [line, ...lines] = bytes.subarray(0, end).toString('latin1').split('\r\n')
  if (bytes.length > end + 4) socket.unshift(bytes.subarray(end + 4))
  const headers = Object.fromEntries(
    lines.map((text) => {
      const colon = text.indexOf(':')
      return [text.slice(0, colon).toLowerCase(), text.slice(colon + 1).trim()]
    }),
  )
  return { line, headers, raw: bytes.subarray(0, end).toString('latin1') }
}

/** A server whose connections end with it. */
async function listen(server) {
  const sockets = new Set()
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
  })
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: server.address().port,
    sockets,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

/**
 * A proxy that takes CONNECT, inside TLS where `tls` is true.
 *
 * It connects to `localhost` alone and to what `routes` maps, `name:port` to a port of this machine. `answer(request)`
 * may answer in its place: with text, after which it closes, or with null for silence. A `login` is demanded.
 * `requests` are those that came: line, headers, the name that TLS asked for, and the port of the client.
 */
export async function startScriptedProxy({ tls = false, login, routes = {}, answer = () => undefined } = {}) {
  const requests = []
  const credentials = tls ? createServerCredentials(['localhost']) : undefined
  const upstreams = new Set()
  const expected = login && `Basic ${Buffer.from(`${login.username}:${login.password}`).toString('base64')}`

  const serve = async (socket) => {
    socket.on('error', () => {})
    const head = await readHead(socket)
    const request = { ...head, servername: socket.servername, socket }
    requests.push(request)
    const said =
      expected !== undefined && request.headers['proxy-authorization'] !== expected
        ? 'HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm="test"\r\nContent-Length: 0\r\n\r\n'
        : answer(request)
    if (said === null) return void socket.resume()
    if (said !== undefined) return void socket.resume().end(said)
    const [method, target] = request.line.split(' ')
    const [host, port] = target.split(':')
    const to = routes[target] ?? (host === 'localhost' ? Number(port) : undefined)
    if (method !== 'CONNECT' || to === undefined) {
      return void socket.resume().end('HTTP/1.1 502 Unknown name\r\nContent-Length: 0\r\n\r\n')
    }
    const upstream = connect(to, '127.0.0.1')
    upstreams.add(upstream)
    upstream.on('error', () => socket.destroy())
    upstream.once('close', () => (upstreams.delete(upstream), socket.destroy()))
    socket.once('close', () => upstream.destroy())
    upstream.once('connect', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      socket.pipe(upstream).pipe(socket)
    })
  }

  const server = await listen(
    tls
      ? createTlsServer({ ...credentials, ALPNProtocols: ['mqtt', 'http/1.1'] }, serve)
      : createTcpServer(serve),
  )
  const authority = (given) => (given === undefined ? '' : `${given.username}:${given.password}@`)
  return {
    port: server.port,
    /** Of its certificate. */
    ca: credentials?.ca,
    requests,
    urlFor: (given = login) => `http${tls ? 's' : ''}://${authority(given)}localhost:${server.port}`,
    /** How many tunnels there are. */
    tunnels: () => upstreams.size,
    async close() {
      await server.close()
      for (const upstream of upstreams) upstream.destroy()
    },
  }
}

/** A server of TCP that does this with each connection. */
export function startTcpServer(act) {
  return listen(createTcpServer(act))
}

/**
 * A server of HTTP over TLS that answers each request with the text that `answer(request)` gives, and closes; null is
 * silence. `requests` are those that came.
 */
export async function startWebServer(answer) {
  const { ca, cert, key } = createServerCredentials(['localhost'])
  const requests = []
  const server = await listen(
    createTlsServer({ cert, key }, async (socket) => {
      socket.on('error', () => {})
      const request = await readHead(socket)
      requests.push(request)
      const said = answer(request)
      socket.resume()
      if (said !== null) socket.end(said)
    }),
  )
  return {
    requests,
    where: { endpoint: 'localhost', port: server.port, tls: { ca }, transport: 'websocket' },
    close: server.close,
  }
}
