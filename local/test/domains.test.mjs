import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { WebSocket } from 'ws'
import { once } from 'node:events'
import { startLocalEndpoint } from 'custom-authorizer-local'
import certificates from '../dist/front-door/certificates.js'
import {
  allow,
  ARN,
  connectMqtt,
  connectPacket,
  grant,
  lastOfType,
  openRaw,
  start,
  unsigned,
} from './support.mjs'

const NAME = 'x-amz-customauthorizer-name'
const authorizers = { Account: unsigned(), Fleet: unsigned(), Other: unsigned() }

/** Connects to a server name, perhaps naming an authorizer, and returns the CONNACK or undefined. */
async function connectTo(t, endpoint, servername, { name, ...tls } = {}) {
  const client = await openRaw(t, endpoint, { servername, ...tls })
  return client.ask(connectPacket(5, name === undefined ? {} : { username: `?${NAME}=${name}` }))
}

const refusedBy = (endpoint) => lastOfType(endpoint, 'connect-refused')?.rule

test('each domain has a default authorizer of its own, and the account one for the others', async (t) => {
  const domains = {
    'fleet.example.test': { defaultAuthorizer: 'Fleet' },
    '*.other.example.test': { defaultAuthorizer: 'Other' },
    'plain.example.test': {},
  }
  const endpoint = await start(t, {
    authorizers,
    defaultAuthorizer: 'Account',
    domains,
    hostNames: ['name.example.test'],
  })
  for (const [servername, expected] of [
    ['fleet.example.test', 'Fleet'],
    ['FLEET.example.test', 'Fleet'],
    ['a.other.example.test', 'Other'],
    ['plain.example.test', 'Account'],
    ['name.example.test', 'Account'],
    ['localhost', 'Account'],
  ]) {
    assert.equal((await connectTo(t, endpoint, servername)).reasonCode, 0, servername)
    assert.equal(endpoint.invocations.at(-1).authorizer, expected, servername)
  }
})

test('a wildcard stands for one level, and a name written out goes before it', async (t) => {
  const domains = {
    '*.example.test': { defaultAuthorizer: 'Other' },
    'a.example.test': { defaultAuthorizer: 'Fleet' },
  }
  const endpoint = await start(t, { authorizers, defaultAuthorizer: 'Account', domains })
  await connectTo(t, endpoint, 'a.example.test')
  assert.equal(endpoint.invocations[0].authorizer, 'Fleet')
  const checkServerIdentity = () => undefined
  assert.equal(await connectTo(t, endpoint, 'a.b.example.test', { checkServerIdentity }), undefined)
  assert.equal(refusedBy(endpoint), 'server-name-unknown')
})

test('the certificate names the domains, so that a client checks it as ever', async (t) => {
  const endpoint = await start(t, {
    authorizers,
    defaultAuthorizer: 'Account',
    domains: { 'fleet.example.test': {} },
  })
  const client = await connectMqtt(t, endpoint, { servername: 'fleet.example.test' })
  assert.equal(client.connected, true)
})

test('another authorizer than the default may be named unless the domain forbids it', async (t) => {
  const domains = {
    'open.example.test': { defaultAuthorizer: 'Fleet' },
    'strict.example.test': { defaultAuthorizer: 'Fleet', allowAuthorizerOverride: false },
  }
  const endpoint = await start(t, { authorizers, defaultAuthorizer: 'Account', domains })
  await connectTo(t, endpoint, 'open.example.test', { name: 'Other' })
  await connectTo(t, endpoint, 'strict.example.test', { name: 'Fleet' })
  await connectTo(t, endpoint, 'strict.example.test')
  assert.deepEqual(
    endpoint.invocations.map(({ authorizer }) => authorizer),
    ['Other', 'Fleet', 'Fleet'],
  )
  assert.equal((await connectTo(t, endpoint, 'strict.example.test', { name: 'Other' })).reasonCode, 0x87)
  assert.equal(refusedBy(endpoint), 'authorizer-override')
  assert.equal(endpoint.invocations.length, 3)
})

test('an override that is forbidden is so over WebSocket as well', async (t) => {
  const domains = { localhost: { defaultAuthorizer: 'Fleet', allowAuthorizerOverride: false } }
  const endpoint = await start(t, { authorizers, domains, defaultAuthorizer: undefined, profile: 'friendly' })
  const client = connectMqtt(t, endpoint, {
    protocol: 'wss',
    path: `/mqtt?${NAME}=Other`,
    ALPNProtocols: undefined,
    wsOptions: { ca: endpoint.ca },
  })
  await assert.rejects(client, /allowAuthorizerOverride: false|Not authorized/)
  assert.equal(refusedBy(endpoint), 'authorizer-override')
})

test('SECURE_MQTT needs no ALPN and serves no WebSocket', async (t) => {
  const domains = { localhost: { applicationProtocol: 'SECURE_MQTT' } }
  const endpoint = await start(t, { domains })
  for (const ALPNProtocols of [undefined, ['mqtt']]) {
    assert.equal((await connectTo(t, endpoint, 'localhost', { ALPNProtocols })).reasonCode, 0)
  }
  const webSocket = new WebSocket(`wss://localhost:${endpoint.port}/mqtt`, 'mqtt', { ca: endpoint.ca })
  const [error] = await once(webSocket, 'error')
  assert.match(error.message, /403/)
  assert.equal(refusedBy(endpoint), 'domain-not-for-websocket')
})

test('MQTT_WSS serves WebSocket alone', async (t) => {
  const endpoint = await start(t, { domains: { localhost: { applicationProtocol: 'MQTT_WSS' } } })
  assert.equal(await connectTo(t, endpoint, 'localhost'), undefined)
  assert.equal(refusedBy(endpoint), 'domain-not-for-mqtt')
  const webSocket = new WebSocket(`wss://localhost:${endpoint.port}/mqtt`, 'mqtt', { ca: endpoint.ca })
  t.after(() => webSocket.terminate())
  await once(webSocket, 'open')
})

test('a domain that is DISABLED turns everybody away, over WebSocket too', async (t) => {
  const domains = { localhost: { domainConfigurationStatus: 'DISABLED' } }
  const endpoint = await start(t, { domains })
  assert.equal(await connectTo(t, endpoint, 'localhost'), undefined)
  assert.equal(refusedBy(endpoint), 'domain-disabled')
  const webSocket = new WebSocket(`wss://localhost:${endpoint.port}/mqtt`, 'mqtt', { ca: endpoint.ca })
  assert.match((await once(webSocket, 'error'))[0].message, /403/)
  assert.equal(endpoint.invocations.length, 0)
})

// Client certificates

const { cert, key } = certificates.createServerCredentials(['device'])
const certificateId = new X509Certificate(cert).fingerprint256.replaceAll(':', '').toLowerCase()
const byCertificate = (
  answer = ({ protocolData: { tls } }) => ({ ...grant(), principalId: tls.principalId }),
) => ({
  authorizers: { Fleet: { handler: answer, signingDisabled: true } },
  defaultAuthorizer: undefined,
  domains: { localhost: { defaultAuthorizer: 'Fleet', authenticationType: 'CUSTOM_AUTH_X509' } },
})

for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
  test(`CUSTOM_AUTH_X509 gives the certificate and its id to the authorizer (${maxVersion})`, async (t) => {
    const endpoint = await start(t, byCertificate())
    const connack = await connectTo(t, endpoint, 'localhost', { cert, key, maxVersion })
    assert.equal(connack.reasonCode, 0)
    assert.deepEqual(endpoint.invocations[0].event.protocolData.tls, {
      serverName: 'localhost',
      x509CertificatePem: cert,
      principalId: certificateId,
    })
    assert.equal(lastOfType(endpoint, 'connected').principalId, certificateId)
  })
}

test('CUSTOM_AUTH_X509 needs no ALPN, and refuses who has no certificate', async (t) => {
  const endpoint = await start(t, byCertificate())
  const options = { cert, key, ALPNProtocols: undefined }
  assert.equal((await connectTo(t, endpoint, 'localhost', options)).reasonCode, 0)
  assert.equal(await connectTo(t, endpoint, 'localhost'), undefined)
  assert.equal(refusedBy(endpoint), 'certificate-missing')
})

test('CUSTOM_AUTH_X509 refuses an answer with another principalId', async (t) => {
  const endpoint = await start(
    t,
    byCertificate(() => grant()),
  )
  assert.equal((await connectTo(t, endpoint, 'localhost', { cert, key })).reasonCode, 0x87)
  assert.equal(refusedBy(endpoint), 'principal-id-certificate')
})

test('CUSTOM_AUTH_X509 takes an answer without policy documents, which then allows nothing', async (t) => {
  const answer = ({ protocolData: { tls } }) => ({
    ...grant(),
    principalId: tls.principalId,
    policyDocuments: undefined,
  })
  const endpoint = await start(t, byCertificate(answer))
  await connectTo(t, endpoint, 'localhost', { cert, key })
  assert.equal(lastOfType(endpoint, 'authorizer-answered').outcome, 'authenticated')
  assert.equal(refusedBy(endpoint), 'connect-denied')
})

test('CUSTOM_AUTH_X509 gives values to the policy variables and condition keys of the certificate', async (t) => {
  const statements = [
    {
      ...allow('iot:Connect', `${ARN}:client/\${iot:Certificate.Subject.CommonName}`),
      Condition: { StringEquals: { 'iot:CertificateId': certificateId } },
    },
  ]
  const answer = ({ protocolData: { tls } }) => ({ ...grant(...statements), principalId: tls.principalId })
  const endpoint = await start(t, byCertificate(answer))
  const connect = async (clientId) =>
    (await openRaw(t, endpoint, { cert, key })).ask(connectPacket(5, { clientId }))
  assert.equal((await connect('device')).reasonCode, 0)
  assert.equal((await connect('other')).reasonCode, 0x87)
})

test('CUSTOM_AUTH_X509 is not for WebSocket', async (t) => {
  const endpoint = await start(t, byCertificate())
  const webSocket = new WebSocket(`wss://localhost:${endpoint.port}/mqtt`, 'mqtt', {
    ca: endpoint.ca,
    cert,
    key,
  })
  await once(webSocket, 'error')
  assert.equal(refusedBy(endpoint), 'domain-not-for-websocket')
})

test('a certificate on a default endpoint: profile aws closes without a word', async (t) => {
  const endpoint = await start(t)
  const client = await openRaw(t, endpoint, { cert, key })
  await client.closed // before it sent anything
  assert.equal(refusedBy(endpoint), 'certificate-not-expected')
})

test('a certificate on a default endpoint: profile friendly says why', async (t) => {
  const endpoint = await start(t, { profile: 'friendly' })
  const connack = await connectTo(t, endpoint, 'localhost', { cert, key })
  assert.match(connack.properties.reasonString, /^the client sent a certificate/)
})

for (const [what, domain, message] of [
  ['that is none', 1, /^domains\["d"\]: must be an object$/],
  ['with an unknown member', { x: 1 }, /there is no member "x"; the members are: defaultAuthorizer/],
  ['with an unknown authorizer', { defaultAuthorizer: 'X' }, /there is no authorizer "X"/],
  ['with a wrong override', { allowAuthorizerOverride: 'no' }, /must be true or false/],
  ['without override and default', { allowAuthorizerOverride: false }, /needs a defaultAuthorizer/],
  [
    'with a wrong authenticationType',
    { authenticationType: 'AWS_X509' },
    /"CUSTOM_AUTH" or "CUSTOM_AUTH_X509"/,
  ],
  [
    'with a wrong applicationProtocol',
    { applicationProtocol: 'HTTPS' },
    /"SECURE_MQTT", "MQTT_WSS" or "DEFAULT"/,
  ],
  [
    'with a wrong domainConfigurationStatus',
    { domainConfigurationStatus: 'OFF' },
    /must be "ENABLED" or "DISABLED"/,
  ],
  [
    'with X.509 and no default',
    { authenticationType: 'CUSTOM_AUTH_X509' },
    /CUSTOM_AUTH_X509 needs a default/,
  ],
  [
    'with X.509 over WebSocket',
    { authenticationType: 'CUSTOM_AUTH_X509', applicationProtocol: 'MQTT_WSS', defaultAuthorizer: 'Fleet' },
    /not possible over WebSocket/,
  ],
]) {
  test(`a domain ${what} is refused at start`, async () => {
    const options = { authorizers, domains: { d: domain } }
    await assert.rejects(startLocalEndpoint(options), { name: 'TypeError', message })
  })
}

test('domains that are none, and names that are none, are refused at start', async () => {
  await assert.rejects(
    startLocalEndpoint({ authorizers, domains: [] }),
    /^TypeError: domains must be an object/,
  )
  await assert.rejects(startLocalEndpoint({ authorizers, domains: { 'a b': {} } }), /goes by a server name/)
})
