import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { startWebServer } from './support/scripted-http.mjs'

/** An answer of HTTP, whose body is as long as it says. */
const http = (status, body = '', headers = []) =>
  [`HTTP/1.1 ${status}`, ...headers, `Content-Length: ${Buffer.byteLength(body)}`, '', body].join('\r\n')

/** How connecting fails where the server answers this. */
async function refusal(t, answer, options = {}) {
  const server = await startWebServer(typeof answer === 'function' ? answer : () => answer)
  t.after(() => server.close())
  const error = await connectWithCustomAuthorizer({ ...server.where, ...options }).then(
    () => assert.fail('was accepted'),
    (reason) => reason,
  )
  // That the request came is what makes it this failure.
  assert.equal(server.requests.length, 1)
  return error
}

const isWebSocketError = ({ code, stage, message }) =>
  assert.deepEqual({ code, stage }, { code: 'ERR_WEBSOCKET', stage: 'websocket' }, message)

for (const status of ['401 Unauthorized', '403 Forbidden']) {
  test(`HTTP ${status}: status and body are in the message, and it is retryable with a hint`, async (t) => {
    const error = await refusal(t, http(status, '{"message":"not today"}'))
    isWebSocketError(error)
    assert.ok(error.message.includes(status), error.message)
    assert.ok(error.message.includes('not today'), error.message)
    assert.equal(error.retryable, true)
    assert.notEqual(error.hint, '')
  })
}

test('a request without a login that is refused: the hint says that it is something else', async (t) => {
  const error = await refusal(t, http('403 Forbidden'))
  assert.match(error.hint, /^It is not the login, which comes in CONNECT only/)
})

for (const credentialsIn of ['query', 'headers']) {
  test(`a login in ${credentialsIn} that is refused: the hint lists what may be the reason`, async (t) => {
    const error = await refusal(t, http('403 Forbidden'), {
      websocket: { credentialsIn },
      authorizerName: 'Fleet',
    })
    isWebSocketError(error)
    assert.match(error.hint, /likelihood: .*isAuthenticated.*"Fleet" is wrong/)
  })
}

for (const [where, websocket] of [
  ['the path', { path: '/mqtt?x-amz-customauthorizer-name=Fleet' }],
  ['headers', { headers: { 'x-amz-customauthorizer-name': 'Fleet' } }],
]) {
  test(`a login written by hand into ${where} that is refused: the hint lists the reasons too`, async (t) => {
    const error = await refusal(t, http('403 Forbidden'), { websocket })
    assert.match(error.hint, /likelihood: .*isAuthenticated.*"Fleet" is wrong/)
  })
}

const accepting = 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: mqtt'
for (const [what, answer] of [
  ['HTTP 200', http('200 OK', '<html>')],
  ['HTTP 301', http('301 Moved', '', ['Location: https://example.com/'])],
  ['HTTP 404', http('404 Not Found')],
  ['HTTP 502', http('502 Bad Gateway')],
  [
    '101 with the key of another request',
    `HTTP/1.1 101 X\r\n${accepting}\r\nSec-WebSocket-Accept: AAAA\r\n\r\n`,
  ],
  ['101 without a key', `HTTP/1.1 101 X\r\n${accepting}\r\n\r\n`],
  ['101 without upgrade', 'HTTP/1.1 101 X\r\n\r\n'],
  ['something that is no HTTP', 'SSH-2.0-OpenSSH_9\r\n\r\n'],
  ['nothing', ''],
  ['headers without end', `HTTP/1.1 101 X\r\n${'X-A: b\r\n'.repeat(5_000)}`],
]) {
  test(`${what} in answer to the request: ERR_WEBSOCKET`, async (t) => {
    isWebSocketError(await refusal(t, answer))
  })
}

test('a body of many lines is one line of the message', async (t) => {
  const error = await refusal(t, http('403 Forbidden', 'first\r\n\tsecond\0\x1b[2J third'))
  assert.match(error.message, /first second/)
  // eslint-disable-next-line no-control-regex
  assert.doesNotMatch(error.message, /[\0-\x1f]/)
})

test('of a body of a megabyte the message shows a beginning', async (t) => {
  const error = await refusal(t, http('403 Forbidden', 'sentence '.repeat(120_000)))
  assert.match(error.message, /sentence sentence/)
  assert.ok(error.message.length < 500, String(error.message.length))
})

test('a body that is announced and does not come: ERR_WEBSOCKET with the status', async (t) => {
  const error = await refusal(t, 'HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\n')
  isWebSocketError(error)
  assert.match(error.message, /HTTP 403 Forbidden/)
})

test('no answer to the request: ERR_CONNECT_TIMEOUT at the stage websocket', async (t) => {
  const error = await refusal(t, null, { connectTimeoutMs: 300 })
  assert.deepEqual(
    { code: error.code, stage: error.stage },
    { code: 'ERR_CONNECT_TIMEOUT', stage: 'websocket' },
  )
})

test('403 counts as a refused login: stopAfterRefusals ends the attempts', async (t) => {
  const server = await startWebServer(() => http('403 Forbidden'))
  t.after(() => server.close())
  await assert.rejects(
    connectWithCustomAuthorizer({
      ...server.where,
      limits: 'none',
      initialConnect: 'retry',
      reconnect: { minDelayMs: 1, maxDelayMs: 20, spreadMs: 0, stopAfterRefusals: 2 },
    }),
    { code: 'ERR_WEBSOCKET' },
  )
  assert.equal(server.requests.length, 2)
})
