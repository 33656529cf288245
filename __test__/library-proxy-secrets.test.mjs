import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { inspect } from 'node:util'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { startEndingPeer } from './support/scripted-peer.mjs'
import { startScriptedProxy } from './support/scripted-http.mjs'

const peer = await startEndingPeer()
after(() => peer.close())

const login = { username: 'relay8841', password: 'OpenSesame5520' }
const basic = Buffer.from(`${login.username}:${login.password}`).toString('base64')
/** Any eight characters in a row of the password or of the encoded login. */
const PIECES = [login.password, basic].flatMap((secret) =>
  Array.from({ length: secret.length - 7 }, (_, at) => secret.slice(at, at + 8)),
)

function holdsNoSecret(...values) {
  const shown = values
    .flatMap((value) => [
      inspect(value, { depth: Infinity, showHidden: true, maxStringLength: null, maxArrayLength: null }),
      String(value?.stack),
      JSON.stringify(value) ?? '',
    ])
    .join('\n')
  for (const piece of PIECES) assert.ok(!shown.includes(piece), `${piece} in ${shown}`)
}

const repeated = ({ headers }) => headers['proxy-authorization']
for (const [what, answer] of [
  ['407 that repeats the header in its reason', (request) => `407 ${repeated(request)}`],
  [
    '407 that repeats the header in a challenge',
    (request) => `407 X\r\nProxy-Authenticate: ${repeated(request)}`,
  ],
  ['403 that repeats the header in its reason', (request) => `403 ${repeated(request)}`],
  ['403 that repeats the password in its reason', () => `403 no ${login.password} here`],
  ['403 that repeats user name and password', () => `403 ${login.username}:${login.password}`],
  ['403 that repeats the header in a header', (request) => `403 X\r\nX-Echo: ${repeated(request)}`],
  ['no HTTP but the header', (request) => `${repeated(request)}`],
]) {
  test(`a proxy that answers ${what}: no error, log record or attempt shows the password`, async (t) => {
    const proxy = await startScriptedProxy({
      answer: (request) => `${what.startsWith('no') ? '' : 'HTTP/1.1 '}${answer(request)}\r\n\r\n`,
    })
    t.after(() => proxy.close())
    const told = []
    const error = await connectWithCustomAuthorizer({
      ...peer.where,
      proxy: proxy.urlFor(login),
      logLevel: 'trace',
      logger: (record) => told.push(record),
      onAttempt: (attempt) => told.push(attempt),
    }).catch((reason) => reason)
    assert.match(error.code, /^ERR_PROXY/)
    // That it is sent is what makes this test one.
    assert.equal(repeated(proxy.requests[0]), `Basic ${basic}`)
    assert.ok(told.length > 0)
    holdsNoSecret(error, error.message, error.hint, error.cause, told)
  })
}

for (const [what, url] of [
  ['a proxy that is down', (port) => `http://${login.username}:${login.password}@localhost:${port}`],
  ['a SOCKS proxy that is down', (port) => `socks5://${login.username}:${login.password}@localhost:${port}`],
  ['an https proxy that is down', (port) => `https://${login.username}:${login.password}@localhost:${port}`],
]) {
  test(`${what}: the error does not show its password`, async (t) => {
    const proxy = await startScriptedProxy()
    t.after(() => proxy.close().catch(() => {}))
    await proxy.close()
    const error = await connectWithCustomAuthorizer({ ...peer.where, proxy: url(proxy.port) }).catch(
      (reason) => reason,
    )
    assert.equal(error.code, 'ERR_PROXY')
    holdsNoSecret(error)
  })
}

test('a connection through a proxy, and its interruption, show no password', async (t) => {
  const proxy = await startScriptedProxy({ login })
  t.after(() => proxy.close())
  const told = []
  const { connection, link } = await peer.connect({
    proxy: new URL(proxy.urlFor()),
    logLevel: 'trace',
    logger: (record) => told.push(record),
    onAttempt: (attempt) => told.push(attempt),
  })
  const interrupted = new Promise((resolve) => connection.once('interrupt', resolve))
  link.destroy()
  told.push(await interrupted)
  await peer.welcome()
  told.push(connection.stats())
  holdsNoSecret(connection, told)
  await connection.disconnect({ force: true })
})
