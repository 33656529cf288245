import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { startLocalEndpoint } from 'custom-authorizer-local'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { signingAuthorizer } from './support/authorizers.mjs'
import { startProxy } from './support/chaos-proxy.mjs'

// An authorizer that lets each token in once, as if it ended with the connection.
const signing = signingAuthorizer('token')
const used = new Set()
const letInOnce = async (event) => {
  if (used.has(event.token)) return { isAuthenticated: false }
  used.add(event.token)
  return signing.handler(event)
}
const local = await startLocalEndpoint({
  authorizers: { Tokens: { ...signing, handler: letInOnce } },
  limits: { connectsPerSecond: Infinity },
})
const proxy = await startProxy(local.port)
after(async () => {
  await proxy.close()
  await local.close()
})

const where = {
  endpoint: local.endpoint,
  port: proxy.port,
  tls: { caFile: local.caFile },
  authorizerName: 'Tokens',
  tokenKeyName: 'token',
  tokenSigningKey: signing.privateKey,
  limits: 'none',
  reconnect: { minDelayMs: 1, maxDelayMs: 10, spreadMs: 0 },
}

for (const mqttVersion of [3, 5]) {
  test(`MQTT ${mqttVersion}: each connection logs in with a token of its own`, async () => {
    const connection = await connectWithCustomAuthorizer({
      ...where,
      mqttVersion,
      credentials: async ({ number }) => ({ tokenValue: `${mqttVersion}.${number}` }),
    })
    const got = []
    await connection.subscribe('t', {}, ({ payload }) => got.push(payload.toString()))
    for (const payload of ['1', '2', '3']) {
      const resumed = once(connection, 'resume')
      proxy.cut()
      await resumed
      await connection.publish('t', payload)
    }
    await connection.disconnect()
    // A cut before its PUBACK has left brings a message once more.
    assert.deepEqual([...new Set(got)], ['1', '2', '3'])
    assert.deepEqual(
      signing.seen.splice(0).map(({ token }) => token),
      [1, 2, 3, 4].map((number) => `${mqttVersion}.${number}`),
    )
  })
}

test('a token that has ended is refused, and the next one comes in', async () => {
  const attempts = []
  const connection = await connectWithCustomAuthorizer({
    ...where,
    credentials: ({ number }) => ({ tokenValue: ['a', 'a', 'a', 'b'][number - 1] }),
    onAttempt: ({ number, error }) => attempts.push([number, error?.code]),
  })
  const resumed = once(connection, 'resume')
  proxy.cut()
  await resumed
  assert.deepEqual(attempts, [
    [1, undefined],
    [2, 'ERR_NOT_AUTHORIZED'],
    [3, 'ERR_NOT_AUTHORIZED'],
    [4, undefined],
  ])
  assert.equal(connection.stats().lastError.code, 'ERR_NOT_AUTHORIZED')
  await connection.disconnect()
})
