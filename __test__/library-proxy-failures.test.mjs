import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { startPeer } from './support/scripted-peer.mjs'
import { startScriptedProxy, startTcpServer } from './support/scripted-http.mjs'

const peer = await startPeer()
after(() => peer.close())

async function start(t, options) {
  const proxy = await startScriptedProxy(options)
  t.after(() => proxy.close())
  return proxy
}

/** How connecting through the proxy fails. */
async function failure(proxy, options = {}) {
  const where = { ...peer.where, proxy: proxy.urlFor() }
  return connectWithCustomAuthorizer({ ...where, ...options }).then(
    (connection) => connection.disconnect({ force: true }).then(() => assert.fail('was connected')),
    (reason) => reason,
  )
}

function is(error, code) {
  assert.deepEqual({ code: error.code, stage: error.stage }, { code, stage: 'proxy' }, error.message)
  assert.notEqual(error.hint, '')
}

for (const tls of [false, true]) {
  const options = (proxy) => (tls ? { tls: { ca: [peer.ca, proxy.ca] } } : {})
  const scheme = tls ? 'https' : 'http'

  for (const status of ['403 Forbidden', '502 Bad Gateway', '503 Busy', '302 Found', '101 Switching']) {
    test(`an ${scheme} proxy that answers ${status}: ERR_PROXY with status, proxy and endpoint`, async (t) => {
      const proxy = await start(t, { tls, answer: () => `HTTP/1.1 ${status}\r\n\r\n` })
      const error = await failure(proxy, options(proxy))
      is(error, 'ERR_PROXY')
      for (const part of [`HTTP ${status}`, `localhost:${proxy.port}`, `localhost:${peer.port}`]) {
        assert.ok(error.message.includes(part), error.message)
      }
    })
  }

  for (const [what, answer] of [
    ['something that is no HTTP', 'SSH-2.0-OpenSSH_9\r\n\r\n'],
    ['nothing and closes', ''],
    ['headers without end', `HTTP/1.1 200 OK\r\n${'X-A: b\r\n'.repeat(5_000)}`],
    ['200 and something behind it', 'HTTP/1.1 200 OK\r\n\r\n<html>'],
    ['half an answer', 'HTTP/1.1 200 O'],
  ]) {
    test(`an ${scheme} proxy that answers ${what}: ERR_PROXY`, async (t) => {
      const proxy = await start(t, { tls, answer: () => answer })
      is(await failure(proxy, options(proxy)), 'ERR_PROXY')
    })
  }

  test(`an ${scheme} proxy that never answers: ERR_CONNECT_TIMEOUT at the stage proxy`, async (t) => {
    const proxy = await start(t, { tls, answer: () => null })
    const error = await failure(proxy, { ...options(proxy), connectTimeoutMs: 300 })
    is(error, 'ERR_CONNECT_TIMEOUT')
    assert.equal(proxy.requests.length, 1)
  })
}

test('407 without a login: ERR_PROXY_AUTH says that none is given', async (t) => {
  const proxy = await start(t, { login: { username: 'user', password: 'sesame' } })
  const url = `http://localhost:${proxy.port}`
  const error = await failure(proxy, { proxy: url })
  is(error, 'ERR_PROXY_AUTH')
  assert.match(error.message, /none (is|are) given/)
})

test('407 with a wrong login: ERR_PROXY_AUTH says that it was not accepted', async (t) => {
  const proxy = await start(t, { login: { username: 'user', password: 'sesame' } })
  const error = await failure(proxy, { proxy: proxy.urlFor({ username: 'user', password: 'mellon' }) })
  is(error, 'ERR_PROXY_AUTH')
  assert.match(error.message, /did not accept/)
})

for (const [what, challenges, named] of [
  ['NTLM alone', ['NTLM'], /NTLM/],
  ['Negotiate and NTLM', ['Negotiate', 'NTLM'], /Negotiate.*NTLM/],
  ['Digest alone', ['Digest realm="a", nonce="b"'], /Digest/],
]) {
  test(`407 with ${what}: ERR_PROXY_AUTH names what is not supported`, async (t) => {
    const headers = challenges.map((challenge) => `Proxy-Authenticate: ${challenge}\r\n`).join('')
    const proxy = await start(t, { answer: () => `HTTP/1.1 407 Login\r\n${headers}\r\n` })
    const error = await failure(proxy, { proxy: proxy.urlFor({ username: 'user', password: 'sesame' }) })
    is(error, 'ERR_PROXY_AUTH')
    assert.match(error.message, named)
  })
}

test('an https proxy whose certificate is not trusted: ERR_PROXY, and nothing is asked of it', async (t) => {
  const proxy = await start(t, { tls: true })
  const error = await failure(proxy)
  is(error, 'ERR_PROXY')
  assert.match(error.message, /certificate/i)
  assert.deepEqual(proxy.requests, [])
})

test('an https proxy whose certificate is for another name: ERR_PROXY', async (t) => {
  const proxy = await start(t, { tls: true })
  const url = proxy.urlFor().replace('localhost', '127.0.0.1')
  is(await failure(proxy, { proxy: url, tls: { ca: [peer.ca, proxy.ca] } }), 'ERR_PROXY')
})

/** A server of TCP that is no proxy at all. */
async function startTcp(t, act) {
  const server = await startTcpServer(act)
  t.after(() => server.close())
  return { urlFor: () => `http://localhost:${server.port}`, ...server }
}

for (const scheme of ['https', 'socks5']) {
  test(`${scheme}: for a server of HTTP: ERR_PROXY`, async (t) => {
    const proxy = await startTcp(t, (socket) => socket.end('HTTP/1.1 400 Bad\r\n\r\n'))
    is(await failure(proxy, { proxy: `${scheme}://localhost:${proxy.port}` }), 'ERR_PROXY')
  })
}

for (const scheme of ['http', 'https', 'socks5']) {
  test(`${scheme}: for a server that closes at once: ERR_PROXY`, async (t) => {
    const proxy = await startTcp(t, (socket) => socket.destroy())
    is(await failure(proxy, { proxy: `${scheme}://localhost:${proxy.port}` }), 'ERR_PROXY')
  })

  test(`${scheme}: for a server that says nothing: ERR_CONNECT_TIMEOUT at the stage proxy`, async (t) => {
    const proxy = await startTcp(t, (socket) => socket.resume())
    const options = { proxy: `${scheme}://localhost:${proxy.port}`, connectTimeoutMs: 300 }
    is(await failure(proxy, options), 'ERR_CONNECT_TIMEOUT')
  })
}

test('an endpoint behind the proxy that says nothing: ERR_CONNECT_TIMEOUT at the stage tls', async (t) => {
  const proxy = await start(t)
  const silent = await startTcp(t, (socket) => socket.resume())
  const error = await failure(proxy, { port: silent.port, connectTimeoutMs: 300 })
  assert.deepEqual({ code: error.code, stage: error.stage }, { code: 'ERR_CONNECT_TIMEOUT', stage: 'tls' })
})

test('an endpoint behind the proxy that closes at once: ERR_TLS', async (t) => {
  const proxy = await start(t)
  const closing = await startTcp(t, (socket) => socket.destroy())
  const error = await failure(proxy, { port: closing.port })
  assert.equal(error.code, 'ERR_TLS', error.message)
})

for (const scheme of ['http', 'https', 'socks5']) {
  test(`an ${scheme} proxy that is down: ERR_PROXY names it`, async (t) => {
    const proxy = await start(t)
    await proxy.close()
    const error = await failure(proxy, { proxy: `${scheme}://user:sesame@localhost:${proxy.port}` })
    is(error, 'ERR_PROXY')
    assert.ok(error.message.includes(`localhost:${proxy.port}`), error.message)
  })

  test(`an ${scheme} proxy whose name does not resolve: ERR_PROXY names it`, async (t) => {
    const proxy = await start(t)
    const error = await failure(proxy, { proxy: `${scheme}://no-such-proxy.invalid:3128` })
    is(error, 'ERR_PROXY')
    assert.match(error.message, /no-such-proxy\.invalid/)
  })
}

test('a proxy that fails at first is tried again with initialConnect retry', async (t) => {
  const answers = ['HTTP/1.1 503 Busy\r\n\r\n', undefined]
  const proxy = await start(t, { answer: () => answers.shift() })
  const { connection } = await peer.connect({
    proxy: proxy.urlFor(),
    initialConnect: 'retry',
    limits: 'none',
    reconnect: { minDelayMs: 1, maxDelayMs: 20, spreadMs: 0 },
  })
  t.after(() => connection.disconnect({ force: true }))
  assert.equal(proxy.requests.length, 2)
})

/** A proxy that is silent, and the first request that it gets. */
async function startSilent(t) {
  let tell
  const asked = new Promise((resolve) => (tell = resolve))
  const proxy = await start(t, { answer: (request) => (tell(request), null) })
  return { proxy, asked }
}

test('an abort while the proxy is silent rejects with its reason and closes the connection to it', async (t) => {
  const { proxy, asked } = await startSilent(t)
  const reason = new Error('enough')
  const controller = new AbortController()
  const failing = failure(proxy, { signal: controller.signal })
  const { socket } = await asked
  const closed = once(socket, 'close')
  controller.abort(reason)
  assert.equal(await failing, reason)
  await closed
})

test('disconnect() while the proxy is silent closes the connection to it', async (t) => {
  const { proxy, asked } = await startSilent(t)
  const connection = await connectWithCustomAuthorizer({
    ...peer.where,
    proxy: proxy.urlFor(),
    initialConnect: 'background',
  })
  const { socket } = await asked
  const closed = once(socket, 'close')
  await connection.disconnect()
  await closed
})
