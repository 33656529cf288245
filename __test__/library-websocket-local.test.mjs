import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startLocalEndpoint } from 'custom-authorizer-local'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { signingAuthorizer } from './support/authorizers.mjs'

const signing = signingAuthorizer('token')
const local = await startLocalEndpoint({
  authorizers: { Tokens: signing },
  limits: { connectsPerSecond: Infinity },
})
after(() => local.close())

const where = {
  endpoint: local.endpoint,
  port: local.port,
  tls: { caFile: local.caFile },
  transport: 'websocket',
  authorizerName: 'Tokens',
  tokenKeyName: 'token',
}
const tokenValue = 'thermostat-7/+=&?%41 ä'

for (const mqttVersion of [3, 5]) {
  for (const credentialsIn of ['connect', 'query', 'headers']) {
    test(`MQTT ${mqttVersion}, credentials in ${credentialsIn}: IoT Core's rules let them in, and messages flow`, async (t) => {
      // A header holds ASCII alone.
      const token = credentialsIn === 'headers' ? tokenValue.replace(' ä', '') : tokenValue
      const connection = await connectWithCustomAuthorizer({
        ...where,
        mqttVersion,
        clientId: `device-${mqttVersion}-${credentialsIn}`,
        websocket: { credentialsIn },
        tokenValue: token,
        tokenSigningKey: signing.privateKey,
        tokenEncoding: credentialsIn === 'headers' ? 'auto' : 'percent',
      })
      t.after(() => connection.disconnect())
      const { event } = local.invocations.at(-1)
      assert.deepEqual(event.protocols, ['tls', 'http', 'mqtt'])
      assert.equal(event.signatureVerified, true)
      assert.equal(event.token, token)
      const subscription = await connection.subscribe('a/b')
      await connection.publish('a/b', 'hello')
      for await (const { payload } of subscription) {
        assert.equal(payload.toString(), 'hello')
        break
      }
    })
  }
}

test('a signature of another token is refused before the handler is asked', async () => {
  const asked = local.invocations.length
  await assert.rejects(
    connectWithCustomAuthorizer({
      ...where,
      websocket: { credentialsIn: 'query' },
      tokenValue: 'mine',
      tokenSignature: Buffer.from('not the signature').toString('base64'),
    }),
    { code: 'ERR_NOT_AUTHORIZED' },
  )
  assert.equal(local.invocations.length, asked)
})
