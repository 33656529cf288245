import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { connectPacket, createTokenKey, grant, lastOfType, ofType, start, unsigned } from './support.mjs'
import { connectMqttJs, openPackets } from './websocket-support.mjs'

const key = createTokenKey()
const signed = { handler: () => grant(), tokenKeyName: 'Tok', tokenSigningPublicKeys: { main: key.pem } }
const NAME = 'x-amz-customauthorizer-name'
const SIGNATURE = 'x-amz-customauthorizer-signature'

// Credentials and the event, by a client that nobody here wrote

const token = 'a+b/c'
const signature = key.sign(token)
const encoded = `${NAME}=Signed&tok=${encodeURIComponent(token)}&${SIGNATURE}=${encodeURIComponent(signature)}`

for (const [carrier, options, expected] of [
  [
    'headers',
    {
      wsOptions: { headers: { 'X-Amz-CustomAuthorizer-Name': 'Signed', Tok: token, [SIGNATURE]: signature } },
    },
    {
      queryString: '',
      headers: { 'x-amz-customauthorizer-name': 'Signed', tok: token, [SIGNATURE]: signature },
      mqtt: { clientId: 'dash-42' },
    },
  ],
  [
    'the query string',
    { path: `/mqtt?${encoded}` },
    { queryString: `?${encoded}`, headers: {}, mqtt: { clientId: 'dash-42' } },
  ],
  [
    'CONNECT',
    { username: `me?${encoded}`, password: 'pw' },
    {
      queryString: '',
      headers: {},
      mqtt: { username: `me?${encoded}`, password: 'cHc=', clientId: 'dash-42' },
    },
  ],
  [
    'all three, mixed',
    {
      path: `/mqtt?${NAME}=Signed`,
      wsOptions: { headers: { [SIGNATURE]: signature } },
      username: `?tok=${encodeURIComponent(token)}`,
    },
    {
      queryString: `?${NAME}=Signed`,
      headers: { [SIGNATURE]: signature },
      mqtt: { username: `?tok=${encodeURIComponent(token)}`, clientId: 'dash-42' },
    },
  ],
]) {
  for (const protocolVersion of [4, 5]) {
    test(`MQTT.js ${protocolVersion} authenticates by ${carrier}`, async (t) => {
      const endpoint = await start(t, { authorizers: { Signed: signed }, defaultAuthorizer: undefined })
      const client = await connectMqttJs(t, endpoint, { protocolVersion, ...options })
      await client.subscribeAsync('a/b', { qos: 1 })
      const message = once(client, 'message')
      await client.publishAsync('a/b', 'x'.repeat(100_000), { qos: 1 })
      assert.equal((await message)[1].length, 100_000)

      const { event } = endpoint.invocations[0]
      assert.deepEqual(event.protocols, ['tls', 'http', 'mqtt'])
      assert.equal(event.token, token)
      assert.equal(event.signatureVerified, true)
      assert.deepEqual(event.protocolData.tls, { serverName: 'localhost' })
      assert.deepEqual(event.protocolData.mqtt, expected.mqtt)
      assert.equal(event.protocolData.http.queryString, expected.queryString)
      const { headers } = event.protocolData.http
      const own = Object.entries(headers).filter(([name]) => /^(x-|tok)/.test(name))
      assert.deepEqual(Object.fromEntries(own), expected.headers)
      assert.equal(headers['sec-websocket-protocol'], 'mqtt')
      assert.equal(headers['content-length'], '0')
      assert.equal(headers.host, `localhost:${endpoint.port}`)
      assert.equal(ofType(endpoint, 'warning').length, 0)
    })
  }
}

test('the user name goes before the query string and that before a header, with a warning', async (t) => {
  const authorizers = { A: unsigned(), B: unsigned(), C: unsigned() }
  const endpoint = await start(t, { authorizers, defaultAuthorizer: undefined })
  const wsOptions = { headers: { [NAME]: 'C' } }
  await connectMqttJs(t, endpoint, { username: `?${NAME}=A`, path: `/mqtt?${NAME}=B`, wsOptions })
  await connectMqttJs(t, endpoint, { path: `/mqtt?${NAME}=B`, wsOptions })
  await connectMqttJs(t, endpoint, { wsOptions })
  assert.deepEqual(
    endpoint.invocations.map(({ authorizer }) => authorizer),
    ['A', 'B', 'C'],
  )
  assert.deepEqual(
    ofType(endpoint, 'warning').map(({ message }) => message),
    [
      `${NAME} is in the user name and, with another value, in the query string and header; the user name counts`,
      `${NAME} is in the query string and, with another value, in the header; the query string counts`,
    ],
  )
})

test('a warning about tokens that differ does not hold them', async (t) => {
  const authorizers = { Open: { ...unsigned(), tokenKeyName: 'tok' } }
  const endpoint = await start(t, { authorizers })
  await connectMqttJs(t, endpoint, { username: '?tok=secret1', path: '/mqtt?tok=secret2' })
  assert.equal(endpoint.invocations[0].event.token, 'secret1')
  assert.match(lastOfType(endpoint, 'warning').message, /^tok is in the user name/)
  assert.doesNotMatch(JSON.stringify(endpoint.events), /secret/)
})

test('a percent-encoded signature in a header is told apart', async (t) => {
  const endpoint = await start(t, { authorizers: { Open: signed } })
  const wsOptions = { headers: { Tok: token, [SIGNATURE]: encodeURIComponent(signature) } }
  await assert.rejects(connectMqttJs(t, endpoint, { protocolVersion: 5, wsOptions }))
  const { rule, message } = lastOfType(endpoint, 'connect-refused')
  assert.equal(rule, 'signature-not-base64')
  assert.match(message, /in the header is percent-encoded/)
  assert.equal(endpoint.invocations.length, 0)
})

test('the authorizer is asked after CONNECT has come, not for the upgrade', async (t) => {
  const endpoint = await start(t)
  const { client } = await openPackets(t, endpoint)
  assert.equal(endpoint.invocations.length, 0)
  assert.equal((await client.ask(connectPacket(5))).reasonCode, 0)
  assert.equal(endpoint.invocations.length, 1)
})

test('an error that repeats secrets of the query string and of headers is recorded without them', async (t) => {
  const handler = ({ protocolData: { http } }) => {
    throw new Error(`no: ${http.queryString} ${http.headers['x-key']} ${http.headers.host}`)
  }
  const endpoint = await start(t, { authorizers: { Open: { handler, signingDisabled: true } } })
  const wsOptions = { headers: { 'X-Key': 'secret-key' } }
  await assert.rejects(
    connectMqttJs(t, endpoint, { protocolVersion: 5, path: '/mqtt?tok=secret%2Dtoken', wsOptions }),
  )
  const { message } = lastOfType(endpoint, 'connect-refused')
  assert.match(message, /no: \?tok=\*\*\* \*\*\* localhost:\d+$/)
})

test('a refusal reaches MQTT.js as its CONNACK', async (t) => {
  const endpoint = await start(t, { authorizers: { Open: unsigned({ isAuthenticated: false }) } })
  await assert.rejects(connectMqttJs(t, endpoint, { protocolVersion: 5 }), { code: 0x87 })
})
