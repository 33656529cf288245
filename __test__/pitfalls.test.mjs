import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startLocalEndpoint } from 'custom-authorizer-local'
import { connectWithCustomAuthorizer, diagnose } from '../dist/client.js'
import { createServerCredentials } from '../local/dist/front-door/certificates.js'
import { allow, passwordAuthorizer, signingAuthorizer } from './support/authorizers.mjs'
import { startPeer } from './support/scripted-peer.mjs'

// What goes wrong in the field, made to happen, and what a diagnosis names.

const signing = signingAuthorizer('tok')
const { token, signature } = signing.signedToken()
const password = (answer) => passwordAuthorizer('me', 'sesame', answer)
const local = await startLocalEndpoint({
  authorizers: {
    Fleet: password(),
    Off: { ...password(), status: 'INACTIVE' },
    NoConnect: password(allow(['iot:Publish'])),
    OnlyConnect: password(allow(['iot:Connect'])),
    Hyphen: password({ ...allow(), principalId: 'thermostat-7' }),
    Throws: {
      handler: () => {
        throw new Error('a bug')
      },
      signingDisabled: true,
    },
    Signed: signing,
  },
  limits: { connectsPerSecond: Infinity },
})
after(() => local.close())

const LOGIN = {
  endpoint: 'localhost',
  port: local.port,
  tls: { ca: local.ca },
  authorizerName: 'Fleet',
  username: 'me',
  password: 'sesame',
}
const SIGNED = { authorizerName: 'Signed', password: undefined, tokenKeyName: 'tok', tokenValue: token }
const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
const jwt = (claims) => `${part({ alg: 'HS256' })}.${part(claims)}.c2ln`
const seconds = (from) => Math.floor(Date.now() / 1000) + from
const { cert, key } = createServerCredentials(['device'])

/** The reasons that a hint counts up. */
const reasons = (hint) => /In order of likelihood: ([^]*?)\. /.exec(hint)?.[1].split('; ') ?? []

for (const [what, options, rule, named, first = false] of [
  ['a wrong authorizer name', { authorizerName: 'Flete' }, 'unknown-authorizer', /name "Flete" is wrong/],
  ['an authorizer that is INACTIVE', { authorizerName: 'Off' }, 'authorizer-inactive', /INACTIVE/],
  [
    'no authorizer name and no default',
    { authorizerName: undefined },
    'no-authorizer',
    /no authorizer was named/,
  ],
  [
    'a wrong password',
    { password: 'wrong', clientId: 'thermostat-7', takeOver: true },
    'not-authenticated',
    /isAuthenticated: false/,
    true,
  ],
  [
    'a policy without iot:Connect',
    { authorizerName: 'NoConnect' },
    'connect-denied',
    /iot:Connect for the client id/,
  ],
  ['a principalId with a hyphen', { authorizerName: 'Hyphen' }, 'principal-id', /invalid answer/],
  ['a Lambda that throws', { authorizerName: 'Throws' }, 'handler-error', /the Lambda failed/],
  [
    'a signature of another token',
    { ...SIGNED, tokenValue: 'other', tokenSignature: signature },
    'signature-mismatch',
    /signature does not match the token/,
  ],
  [
    'a token signed by a key that the authorizer does not know',
    { ...SIGNED, tokenSigningKey: signingAuthorizer('tok').privateKey },
    'signature-mismatch',
    /public key is not the one of tokenSigningKey/,
  ],
  [
    'a signed authorizer without a token',
    { authorizerName: 'Signed' },
    'token-missing',
    /signed tokens only/,
  ],
  [
    'a JWT that has expired',
    { password: jwt({ exp: seconds(-180) }) },
    'not-authenticated',
    /password is a JWT that expired 3 minutes ago/,
    true,
  ],
  [
    'a JWT that is not valid yet',
    { password: jwt({ nbf: seconds(7200) }) },
    'not-authenticated',
    /password is a JWT that becomes valid in/,
    true,
  ],
  [
    'a wrong token key name',
    { ...SIGNED, tokenKeyName: 'token', tokenSignature: signature },
    'token-missing',
    /tokenKeyName "token" is not the one that the authorizer has/,
  ],
  ['no ALPN', { tls: { ca: local.ca, alpnProtocols: [] } }, 'alpn-missing', /ALPN/, true],
  [
    'a client certificate that was left in',
    { tls: { ca: local.ca, cert, key } },
    'certificate-not-expected',
    /tls\.cert is given/,
    true,
  ],
]) {
  test(`${what} is among the reasons${first ? ', first of all' : ''}`, async () => {
    const { error, next } = await diagnose({ ...LOGIN, mqttVersion: 3, ...options })
    // That it happened for this very reason.
    assert.equal(local.events.findLast(({ type }) => type === 'connect-refused').rule, rule)
    assert.equal(error.code, 'ERR_CLOSED_BEFORE_CONNACK')
    const at = reasons(next).findIndex((reason) => named.test(reason))
    assert.ok(first ? at === 0 : at >= 0, next)
  })
}

test('without a token the signature is none of the reasons, and with one "signed tokens only" is none', async () => {
  const without = await diagnose({ ...LOGIN, mqttVersion: 3, password: 'wrong' })
  assert.doesNotMatch(without.next, /signature does not match/)
  const given = { ...SIGNED, tokenValue: 'other', tokenSignature: signature }
  const having = await diagnose({ ...LOGIN, mqttVersion: 3, ...given })
  assert.doesNotMatch(having.next, /signed tokens only/)
})

test('a signature that the public key given verifies is none of the reasons', async () => {
  const options = { ...LOGIN, ...SIGNED, mqttVersion: 3, tokenSignature: signature, authorizerName: 'Off' }
  const publicKey = signing.tokenSigningPublicKeys.first
  assert.match((await diagnose(options)).next, /signature does not match/)
  const { steps, next } = await diagnose({ ...options, publicKey })
  assert.equal(steps.find(({ name }) => name === 'signature').outcome, 'passed')
  assert.doesNotMatch(next, /signature/)
})

for (const [what, written] of [
  ['base64url and without padding', Buffer.from(signature, 'base64').toString('base64url')],
  ['percent-encoded already', encodeURIComponent(signature)],
]) {
  test(`a signature in ${what} gets in all the same`, async () => {
    assert.equal((await diagnose({ ...LOGIN, ...SIGNED, tokenSignature: written })).ok, true)
  })
}

test('a second ? in the user name gets in, with a warning', async () => {
  const { ok, warnings } = await diagnose({ ...LOGIN, username: 'me?a=b?SDK=JavaV2' })
  assert.equal(ok, true)
  assert.match(warnings.join(), /more than one '\?'/)
})

test('ALPN mqtt over WebSocket is warned of', async () => {
  const tls = { ca: local.ca, alpnProtocols: ['mqtt'] }
  const { ok, warnings } = await diagnose({ ...LOGIN, transport: 'websocket', tls })
  assert.equal(ok, false)
  assert.match(warnings.join(), /alpnProtocols holds 'mqtt' and transport is 'websocket'/)
})

for (const mqttVersion of [3, 5]) {
  test(`MQTT ${mqttVersion}: a policy that lets in and allows nothing else is told at the topic`, async () => {
    const options = { ...LOGIN, mqttVersion, authorizerName: 'OnlyConnect', topic: 'a/b' }
    const { steps, next } = await diagnose(options)
    assert.deepEqual(
      steps.slice(-2).map(({ name, outcome }) => `${name} ${outcome}`),
      ['connack passed', 'subscribe failed'],
    )
    assert.match(next, /iot:Subscribe/)
  })
}

test('two devices with one client id: the older one is told to get an id of its own', async (t) => {
  const options = { ...LOGIN, clientId: 'twin', reconnect: false }
  const older = await connectWithCustomAuthorizer(options)
  const newer = await connectWithCustomAuthorizer(options)
  t.after(() => newer.disconnect())
  const { error } = await older.closed
  assert.equal(error.code, 'ERR_SESSION_TAKEN_OVER')
  assert.match(error.hint, /client id of its own/)
})

test('a server that speaks MQTT 3.1.1 alone refuses MQTT 5, and its version is named', async (t) => {
  const peer = await startPeer()
  t.after(() => peer.close())
  const diagnosing = diagnose(peer.where)
  const link = await peer.accept()
  await link.expect('connect')
  link.sendBytes(Buffer.from([0x20, 2, 0, 1]))
  const { error } = await diagnosing
  assert.equal(error.code, 'ERR_CONNECT_REFUSED')
  assert.match(`${error.message} ${error.hint}`, /protocol version/)
})

for (const [endpoint, named] of [
  ['https://abc-ats.iot.eu-west-1.amazonaws.com', /it is a URL/],
  ['abc-ats.iot.eu-west-1.amazonaws.com:8883', /use the option port/],
]) {
  test(`the endpoint ${endpoint} is refused before any traffic`, async () => {
    await assert.rejects(diagnose({ endpoint }), { code: 'ERR_INVALID_OPTION', message: named })
  })
}
