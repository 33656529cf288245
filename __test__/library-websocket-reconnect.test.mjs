import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { inspect } from 'node:util'
import { startEndingPeer } from './support/scripted-peer.mjs'

const peer = await startEndingPeer({ websocket: true })
after(() => peer.close())

/** The error of the interruption that `lose(link)` makes. */
async function interruption(lose) {
  const { connection, link } = await peer.connect()
  const interrupted = once(connection, 'interrupt')
  lose(link)
  const [{ error }] = await interrupted
  await connection.disconnect({ force: true })
  return error
}

test('a close frame with code and reason: the interruption shows both in its cause', async () => {
  const error = await interruption((link) => link.websocket.close(4_001, 'moved elsewhere'))
  assert.equal(error.code, 'ERR_CONNECTION_LOST')
  assert.match(inspect(error.cause), /4001/)
  assert.match(inspect(error.cause), /moved elsewhere/)
})

test('a close frame without a code: ERR_CONNECTION_LOST', async () => {
  const error = await interruption((link) => link.websocket.close())
  assert.equal(error.code, 'ERR_CONNECTION_LOST')
})

test('a TCP connection that is cut: ERR_CONNECTION_LOST', async () => {
  const error = await interruption((link) => link.tls.destroy())
  assert.equal(error.code, 'ERR_CONNECTION_LOST')
})

test('the session is resumed over a new WebSocket, and what was not acknowledged is sent again', async (t) => {
  const { connection, link } = await peer.connect()
  t.after(() => connection.disconnect({ force: true }))
  const subscribing = connection.subscribe('a')
  await link.grant()
  await subscribing
  const publishing = connection.publish('b', 'kept')
  const { messageId } = await link.expect('publish')
  link.websocket.close(1_001)
  const resumed = once(connection, 'resume')
  const second = await peer.welcome({ sessionPresent: true })
  const [{ sessionPresent }] = await resumed
  assert.equal(sessionPresent, true)
  // No SUBSCRIBE in between: the server has kept it.
  const again = await second.acknowledge()
  assert.deepEqual(
    { dup: again.dup, messageId: again.messageId, payload: again.payload.toString() },
    { dup: true, messageId, payload: 'kept' },
  )
  await publishing
})

test('the request of a reconnect is that of the first', async (t) => {
  const { connection, link } = await peer.connect({
    authorizerName: 'Fleet',
    websocket: { credentialsIn: 'query', headers: { 'x-key': 'value' } },
  })
  t.after(() => connection.disconnect({ force: true }))
  link.websocket.close(1_001)
  const second = await peer.welcome()
  assert.equal(second.request.url, link.request.url)
  assert.equal(second.request.headers['x-key'], 'value')
})

for (const [credentialsIn, tokenOf] of [
  ['query', ({ url }) => new URLSearchParams(url.split('?')[1]).get('token')],
  ['headers', ({ headers }) => headers.token],
]) {
  test(`credentialsIn '${credentialsIn}': credentials() is asked anew after a 403, and its answer is sent`, async (t) => {
    const tokens = []
    const doorkeeper = await startEndingPeer({
      websocket: {
        verifyClient: ({ req }, done) => {
          tokens.push(tokenOf(req))
          done(tokens.length > 1, 403, 'no')
        },
      },
    })
    t.after(() => doorkeeper.close())
    const asked = []
    const connecting = doorkeeper.dial({
      initialConnect: 'retry',
      websocket: { credentialsIn },
      tokenKeyName: 'token',
      credentials: ({ number, lastError }) => {
        asked.push([number, lastError?.code])
        return { tokenValue: `token-${number}`, tokenSignature: 'c2ln' }
      },
    })
    await doorkeeper.welcome()
    await (await connecting).disconnect({ force: true })
    assert.deepEqual(asked, [
      [1, undefined],
      [2, 'ERR_WEBSOCKET'],
    ])
    assert.deepEqual(tokens, ['token-1', 'token-2'])
  })
}

test("credentialsIn 'connect': credentials() is asked anew after a 403, and its answer is in CONNECT", async (t) => {
  let attempts = 0
  const doorkeeper = await startEndingPeer({
    websocket: { verifyClient: (_info, done) => done(++attempts > 1, 403, 'no') },
  })
  t.after(() => doorkeeper.close())
  const connecting = doorkeeper.dial({
    initialConnect: 'retry',
    credentials: ({ number }) => ({ username: `user ${number}` }),
  })
  const link = await doorkeeper.welcome()
  await (await connecting).disconnect({ force: true })
  assert.equal(link.connect.username, 'user 2')
})

test('a server that says why it closes is not taken for another client with the same id', async (t) => {
  const { connection, link } = await peer.connect({ mqttVersion: 3 })
  t.after(() => connection.disconnect({ force: true }))
  const hints = []
  connection.on('interrupt', ({ error }) => hints.push(error.hint))
  let current = link
  for (let times = 1; times <= 4; times++) {
    const resumed = once(connection, 'resume')
    current.websocket.close(1_012, 'restart')
    current = await peer.welcome()
    await resumed
  }
  assert.equal(new Set(hints).size, 1, hints.join('\n'))
})
