import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { refuse, startEndingPeer, startPeer } from './support/scripted-peer.mjs'
import { startScriptedProxy } from './support/scripted-http.mjs'

const peer = await startPeer()
after(() => peer.close())

async function start(t, options) {
  const proxy = await startScriptedProxy(options)
  t.after(() => proxy.close())
  return proxy
}

/** Connects through the proxy to the peer. */
async function through(t, proxy, options = {}, to = peer) {
  const { connection, link } = await to.connect({ proxy: proxy.urlFor(), ...options })
  t.after(() => connection.disconnect({ force: true }))
  return { connection, link }
}

test('CONNECT names the endpoint in its line and its host header, and says nothing more', async (t) => {
  const proxy = await start(t)
  await through(t, proxy, { username: 'me', password: 'secret' })
  const target = `localhost:${peer.port}`
  const [{ line, headers }] = proxy.requests
  assert.deepEqual({ line, headers }, { line: `CONNECT ${target} HTTP/1.1`, headers: { host: target } })
})

test('the login of the URL is sent as Basic, without percent-encoding', async (t) => {
  const login = { username: 'us er', password: 'p@/#%é:x' }
  const proxy = await start(t)
  const url = proxy.urlFor({
    username: encodeURIComponent(login.username),
    password: encodeURIComponent(login.password),
  })
  await through(t, proxy, { proxy: url })
  const [scheme, credentials] = proxy.requests[0].headers['proxy-authorization'].split(' ')
  assert.equal(scheme, 'Basic')
  assert.equal(Buffer.from(credentials, 'base64').toString(), `${login.username}:${login.password}`)
})

test("name and certificate of TLS stay the endpoint's", async (t) => {
  const proxy = await start(t)
  const { link } = await through(t, proxy, { proxy: proxy.urlFor().replace('localhost', '127.0.0.1') })
  assert.equal(link.tls.servername, 'localhost')
})

test('ALPN mqtt is agreed on through the proxy', async (t) => {
  const { connection } = await through(t, await start(t))
  assert.equal(connection.negotiated.alpnProtocol, 'mqtt')
})

test("a certificate for another name than the endpoint's: ERR_TLS_CERTIFICATE, not ERR_PROXY", async (t) => {
  const other = await startPeer({ names: ['other.example'] })
  t.after(() => other.close())
  const proxy = await start(t)
  await assert.rejects(connectWithCustomAuthorizer({ ...other.where, proxy: proxy.urlFor() }), {
    code: 'ERR_TLS_CERTIFICATE',
    stage: 'tls',
  })
})

for (const tls of [false, true]) {
  test(`the ${tls ? 'https' : 'http'} proxy alone resolves the endpoint's name`, async (t) => {
    const endpoint = 'only-the-proxy-knows.example'
    const other = await startPeer({ names: [endpoint] })
    t.after(() => other.close())
    const proxy = await start(t, { tls, routes: { [`${endpoint}:${other.port}`]: other.port } })
    const ca = [other.ca, ...(tls ? [proxy.ca] : [])]
    const { link } = await through(t, proxy, { endpoint, tls: { ca } }, other)
    assert.equal(link.tls.servername, endpoint)
  })
}

test('an https proxy is asked for by its own name, and the endpoint by its', async (t) => {
  const endpoint = 'iot.example'
  const other = await startPeer({ names: [endpoint] })
  t.after(() => other.close())
  const proxy = await start(t, { tls: true, routes: { [`${endpoint}:${other.port}`]: other.port } })
  const { link } = await through(t, proxy, { endpoint, tls: { ca: [other.ca, proxy.ca] } }, other)
  assert.deepEqual([proxy.requests[0].servername, link.tls.servername], ['localhost', endpoint])
})

test("tls.serverName is the endpoint's, not that of an https proxy", async (t) => {
  const other = await startPeer({ names: ['iot.example'] })
  t.after(() => other.close())
  const proxy = await start(t, { tls: true })
  const tls = { ca: [other.ca, proxy.ca], serverName: 'iot.example' }
  const { link } = await through(t, proxy, { tls }, other)
  assert.deepEqual([proxy.requests[0].servername, link.tls.servername], ['localhost', 'iot.example'])
})

test("an https proxy is not offered the endpoint's protocol", async (t) => {
  const proxy = await start(t, { tls: true })
  await through(t, proxy, { tls: { ca: [peer.ca, proxy.ca] } })
  // It would select mqtt.
  assert.notEqual(proxy.requests[0].socket.alpnProtocol, 'mqtt')
})

test('WebSocket through a proxy opens with CONNECT, then asks the endpoint', async (t) => {
  const web = await startPeer({ websocket: true })
  t.after(() => web.close())
  const proxy = await start(t)
  const { link } = await through(t, proxy, {}, web)
  assert.equal(proxy.requests[0].line, `CONNECT localhost:${web.port} HTTP/1.1`)
  assert.equal(link.request.url, '/mqtt')
})

test('WebSocket through an https proxy: 120,000 bytes go there and come back', async (t) => {
  const web = await startPeer({ websocket: true })
  t.after(() => web.close())
  const proxy = await start(t, { tls: true })
  const payload = Buffer.from(Array.from({ length: 120_000 }, (_, index) => index % 251))
  const { connection, link } = await through(t, proxy, { tls: { ca: [web.ca, proxy.ca] } }, web)
  const arrived = once(connection, 'message')
  const publishing = connection.publish('there', payload)
  const there = await link.acknowledge()
  await publishing
  link.send({ cmd: 'publish', topic: 'back', payload })
  const [back] = await arrived
  assert.ok(there.payload.equals(payload) && back.payload.equals(payload))
})

for (const [what, options] of [
  ['a proxy', {}],
  ['a proxy with a login', { login: { username: 'user', password: 'sesame' } }],
]) {
  test(`a reconnect goes through ${what} again`, async (t) => {
    const ending = await startEndingPeer()
    t.after(() => ending.close())
    const proxy = await start(t, options)
    const { link } = await through(t, proxy, {}, ending)
    link.destroy()
    await ending.welcome()
    assert.equal(proxy.requests.length, 2)
  })
}

test('the end of the connection ends the tunnel', async (t) => {
  const proxy = await start(t)
  const { connection, link } = await through(t, proxy)
  const { socket } = proxy.requests[0]
  assert.equal(proxy.tunnels(), 1)
  const closed = socket.destroyed ? undefined : once(socket, 'close')
  await connection.disconnect()
  await link.expect('disconnect')
  link.end()
  await closed
  assert.ok(socket.destroyed)
})

test('without the option no proxy is asked', async (t) => {
  const proxy = await start(t)
  process.env.HTTPS_PROXY = proxy.urlFor()
  t.after(() => delete process.env.HTTPS_PROXY)
  await through(t, proxy, { proxy: undefined })
  assert.deepEqual(proxy.requests, [])
})

test('a refusal of the login names the proxy too, and so does a lost connection', async (t) => {
  const proxy = await start(t)
  const where = new RegExp(`^localhost:${peer.port} through the proxy http://localhost:\\d+ refused`)
  const connecting = connectWithCustomAuthorizer({ ...peer.where, proxy: proxy.urlFor() })
  const [error] = await Promise.all([connecting.catch((reason) => reason), refuse(peer)])
  assert.match(error.message, where)
  const { connection, link } = await through(t, proxy, { reconnect: false })
  link.end()
  const { error: lost } = await connection.closed
  assert.match(lost.message, /through the proxy http:/)
})
