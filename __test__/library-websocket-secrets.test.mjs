import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { startWebServer } from './support/scripted-http.mjs'
import { startPeer } from './support/scripted-peer.mjs'

// Runs of letters and digits that no message has by accident.
const tokenValue = 'eyJhbGciOiJSUzI1NiJ9.Zm9vYmFyYmF6cXV4.c2lnbmVkYnltZQ'
const tokenSignature = Buffer.from('signature of that token, in base64??>').toString('base64')
const header = 'Bearer 8731abcd5520efgh2219'
const password = 'pass-phrase-4471'
const SECRETS = [tokenValue, tokenSignature, header, password]
/** What must not show: any eight letters or digits in a row of a secret. */
const PIECES = SECRETS.flatMap((secret) =>
  secret
    .split(/[^A-Za-z0-9]+/)
    .flatMap((run) => Array.from({ length: Math.max(0, run.length - 7) }, (_, at) => run.slice(at, at + 8))),
)

const CREDENTIALS = {
  authorizerName: 'Fleet',
  username: 'me',
  password,
  tokenKeyName: 'token',
  tokenValue,
  tokenSignature,
}

for (const credentialsIn of ['query', 'headers']) {
  for (const [what, answer] of [
    ['in the body', ({ raw }) => ['403 Forbidden', raw]],
    ['in the body, decoded', ({ raw }) => ['403 Forbidden', decodeURIComponent(raw)]],
    ['in the body, as JSON', ({ raw }) => ['401 Unauthorized', JSON.stringify({ message: raw })]],
    ['in the body, the token alone', () => ['401 Unauthorized', `no such token: ${tokenValue}`]],
    ['in the reason phrase', () => [`403 ${tokenValue} ${tokenSignature}`, '']],
    ['in the reason phrase, the header alone', () => [`403 ${header}`, '']],
    ['in headers', ({ raw }) => [`403 Forbidden\r\nX-Echo: ${encodeURIComponent(raw)}`, '']],
  ]) {
    test(`credentialsIn '${credentialsIn}': a refusal that repeats the request ${what} shows no secret`, async (t) => {
      const server = await startWebServer((request) => {
        const [head, body] = answer(request)
        return `HTTP/1.1 ${head}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
      })
      t.after(() => server.close())
      const told = []
      const error = await connectWithCustomAuthorizer({
        ...server.where,
        ...CREDENTIALS,
        websocket: { credentialsIn, headers: { 'x-key': header } },
        logLevel: 'trace',
        logger: (record) => told.push(record),
        onAttempt: (attempt) => told.push(attempt),
      }).catch((reason) => reason)
      assert.equal(error.code, 'ERR_WEBSOCKET', error.message)
      // That they are sent is what makes this test one.
      assert.ok(decodeURIComponent(server.requests[0].raw).includes(tokenValue))
      told.push(error, error.message, error.hint, error.cause, error.stack)
      const shown = inspect(told, { depth: Infinity, showHidden: true, maxStringLength: null })
      for (const piece of PIECES) assert.ok(!shown.includes(piece), `${piece} in ${shown}`)
    })
  }
}

test('a server that repeats the password as it closes the WebSocket gets it into no error', async (t) => {
  const peer = await startPeer({ websocket: true })
  t.after(() => peer.close())
  const { connection, link } = await peer.connect({ ...CREDENTIALS, reconnect: false })
  link.websocket.close(4001, `no ${password}`)
  const { error } = await connection.closed
  assert.equal(error.code, 'ERR_CONNECTION_LOST')
  const shown = inspect(error, { depth: Infinity, showHidden: true, maxStringLength: null })
  for (const piece of PIECES) assert.ok(!shown.includes(piece), `${piece} in ${shown}`)
})
