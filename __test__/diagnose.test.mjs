import assert from 'node:assert/strict'
import { createSecretKey, generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { startLocalEndpoint } from 'custom-authorizer-local'
import { MqttError, diagnose } from '../dist/client.js'
import { allow, passwordAuthorizer, signingAuthorizer } from './support/authorizers.mjs'
import { startPeer } from './support/scripted-peer.mjs'

/** A stand-in with one authorizer, and what it takes to connect to it. */
async function start(t, { authorizer = passwordAuthorizer('me', 'sesame'), ...options } = {}) {
  const local = await startLocalEndpoint({
    authorizers: { Fleet: authorizer },
    limits: { connectsPerSecond: Infinity },
    ...options,
  })
  t.after(() => local.close())
  const given = {
    endpoint: local.endpoint,
    port: local.port,
    tls: { ca: local.ca },
    authorizerName: 'Fleet',
    username: 'me',
    password: 'sesame',
  }
  return { local, given }
}

const outcomes = ({ steps }) => steps.map(({ name, outcome }) => `${name} ${outcome}`)
const stepOf = ({ steps }, name) => steps.find((step) => step.name === name)

const TO_CONNACK = ['login', 'dns', 'tcp', 'tls', 'alpn', 'connack']

for (const mqttVersion of [3, 5]) {
  test(`MQTT ${mqttVersion}: every step of a way that is open passes, and is told as it is done`, async (t) => {
    const { local, given } = await start(t)
    const told = []
    const diagnosis = await diagnose({ ...given, mqttVersion, onStep: (step) => told.push(step) })
    assert.deepEqual(
      outcomes(diagnosis),
      TO_CONNACK.map((name) => `${name} passed`),
    )
    assert.deepEqual(told, diagnosis.steps)
    assert.equal(diagnosis.ok, true)
    assert.equal(diagnosis.verdict, 'localhost accepted the connection.')
    assert.equal(local.invocations.length, 1)
  })
}

test('over WebSocket the upgrade is a step', async (t) => {
  const { given } = await start(t)
  const diagnosis = await diagnose({ ...given, transport: 'websocket' })
  assert.equal(diagnosis.ok, true)
  assert.deepEqual(outcomes(diagnosis).slice(-2), ['websocket passed', 'connack passed'])
})

test('TLS is told with version, cipher, certificates with names and dates, and the root', async (t) => {
  const { given } = await start(t)
  const { seen } = stepOf(await diagnose(given), 'tls')
  assert.equal(seen[0], 'server name (SNI) localhost')
  assert.match(seen[1], /^TLS 1\.3, TLS13_AES_\d+_GCM_SHA\d+$/)
  assert.match(
    seen[2],
    /^certificate of CN=localhost, issued by CN=custom-authorizer-local CA, valid from \d{4}-\d\d-\d\dT\S+ to \d{4}-\d\d-\d\dT\S+$/,
  )
  assert.equal(seen.at(-1), 'trusted for its root CN=custom-authorizer-local CA')
})

// Where it fails

test('a name that does not resolve ends at DNS', async () => {
  const diagnosis = await diagnose({ endpoint: 'nowhere.invalid' })
  assert.deepEqual(outcomes(diagnosis), ['login passed', 'dns failed'])
  assert.equal(diagnosis.error.code, 'ERR_DNS')
  assert.match(diagnosis.verdict, /nowhere\.invalid does not resolve/)
})

test('a port that nobody listens on ends at TCP, with the address', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  await new Promise((done) => server.close(done))
  const diagnosis = await diagnose({ endpoint: '127.0.0.1', port, tls: { serverName: 'localhost' } })
  assert.deepEqual(outcomes(diagnosis), ['login passed', 'dns passed', 'tcp failed'])
  assert.deepEqual(stepOf(diagnosis, 'tcp').seen, [`127.0.0.1:${port}`])
  assert.equal(diagnosis.error.code, 'ERR_TCP')
})

test('an endpoint that is an address has no server name, which explains a refusal', async (t) => {
  const { given } = await start(t)
  const diagnosis = await diagnose({ ...given, endpoint: '127.0.0.1' })
  assert.equal(stepOf(diagnosis, 'tls').seen[0], 'no server name (SNI): the endpoint is an address')
  assert.match(diagnosis.next, /In order of likelihood: the endpoint is an address/)
})

test('a certificate that is not trusted ends at TLS, and is shown', async (t) => {
  const { given } = await start(t)
  const diagnosis = await diagnose({ ...given, tls: {} })
  const { outcome, seen, error } = stepOf(diagnosis, 'tls')
  assert.equal(outcome, 'failed')
  assert.equal(error.code, 'ERR_TLS_CERTIFICATE')
  assert.match(seen[1], /^certificate of CN=localhost, issued by CN=custom-authorizer-local CA, valid from/)
})

test('a server that does not know mqtt ends at TLS', async (t) => {
  const { given } = await start(t)
  const diagnosis = await diagnose({ ...given, tls: { ...given.tls, alpnProtocols: ['h2'] } })
  assert.equal(diagnosis.error.code, 'ERR_ALPN')
  assert.equal(stepOf(diagnosis, 'tls').outcome, 'failed')
})

test('a refused upgrade ends at WebSocket', async (t) => {
  const { given } = await start(t)
  const diagnosis = await diagnose({ ...given, transport: 'websocket', websocket: { path: '/wrong' } })
  assert.equal(stepOf(diagnosis, 'websocket').outcome, 'failed')
  assert.equal(diagnosis.error.code, 'ERR_WEBSOCKET')
})

for (const [mqttVersion, code] of [
  [3, 'ERR_CLOSED_BEFORE_CONNACK'],
  [5, 'ERR_NOT_AUTHORIZED'],
]) {
  test(`MQTT ${mqttVersion}: a refused login ends at CONNACK with ${code}`, async (t) => {
    const { given } = await start(t)
    const diagnosis = await diagnose({ ...given, mqttVersion, password: 'wrong' })
    assert.equal(diagnosis.ok, false)
    assert.equal(stepOf(diagnosis, 'connack').error.code, code)
    assert.equal(diagnosis.error.code, code)
    assert.match(diagnosis.next, /isAuthenticated/)
  })
}

// What it does not do

test('with a client id it stops before CONNECT, and the authorizer is not called', async (t) => {
  const { local, given } = await start(t)
  const diagnosis = await diagnose({ ...given, clientId: 'thermostat-7' })
  assert.equal(outcomes(diagnosis).at(-1), 'connack skipped')
  assert.match(stepOf(diagnosis, 'connack').seen[0], /takeOver/)
  assert.equal(diagnosis.ok, true)
  assert.match(diagnosis.verdict, /CONNECT was not sent/)
  assert.equal(local.invocations.length, 0)
})

const WILL = { topic: 'will', payload: 'x' }

test('without a client id, a session of its own ends with it, and no Will is sent', async (t) => {
  const peer = await startPeer()
  t.after(() => peer.close())
  const diagnosing = diagnose({ ...peer.where, will: WILL })
  const link = await peer.accept()
  const connect = await link.expect('connect')
  link.send({ cmd: 'connack', reasonCode: 0, sessionPresent: false })
  await link.expect('disconnect')
  assert.equal(connect.will, undefined)
  assert.equal(connect.clean, true)
  assert.equal(connect.properties.sessionExpiryInterval, 0)
  assert.equal((await diagnosing).ok, true)
})

test('with takeOver the session of the client id is resumed and left as it was', async (t) => {
  const peer = await startPeer()
  t.after(() => peer.close())
  const probes = { topic: 'a/b', probePublish: true }
  const diagnosing = diagnose({ ...peer.where, clientId: 'live', takeOver: true, ...probes, will: WILL })
  const link = await peer.accept()
  const connect = await link.expect('connect')
  assert.deepEqual([connect.clientId, connect.clean, connect.will], ['live', false, undefined])
  // The longest of IoT Core: a shorter one would take from what the session had.
  assert.equal(connect.properties.sessionExpiryInterval, 604_800)
  link.send({ cmd: 'connack', reasonCode: 0, sessionPresent: true })
  const { messageId } = await link.expect('publish')
  // A message of the session comes first: it is left for whoever the session belongs to.
  link.send({ cmd: 'publish', topic: 'x', payload: 'y', qos: 1, messageId: 7, dup: false, retain: false })
  link.send({ cmd: 'puback', messageId })
  const disconnect = await link.expect('disconnect')
  assert.equal(disconnect.properties?.sessionExpiryInterval, undefined)
  const diagnosis = await diagnosing
  assert.equal(diagnosis.ok, true)
  // A subscription would stay in it.
  assert.equal(stepOf(diagnosis, 'subscribe').outcome, 'skipped')
  assert.match(diagnosis.next, /the subscription would stay/)
  assert.match(diagnosis.verdict, /allowed to publish to a\/b\.$/)
})

test('with takeOver a session that was begun is told, and how long it would stay', async (t) => {
  const peer = await startPeer()
  t.after(() => peer.close())
  const diagnosing = diagnose({
    ...peer.where,
    clientId: 'new',
    takeOver: true,
    topic: 'a/b',
    probePublish: true,
  })
  const link = await peer.accept()
  await link.expect('connect')
  const properties = { sessionExpiryInterval: 900 }
  link.send({ cmd: 'connack', reasonCode: 0, sessionPresent: false, properties })
  await link.expect('subscribe')
  link.end()
  const diagnosis = await diagnosing
  assert.match(
    stepOf(diagnosis, 'connack').seen.at(-1),
    /where the server closes first, it keeps it for 900 s$/,
  )
  assert.deepEqual(outcomes(diagnosis).slice(-2), ['subscribe failed', 'publish skipped'])
})

test('with takeOver a session that was not there does not stay', async (t) => {
  const peer = await startPeer()
  t.after(() => peer.close())
  const diagnosing = diagnose({ ...peer.where, clientId: 'new', takeOver: true })
  const link = await peer.accept()
  await link.expect('connect')
  link.send({ cmd: 'connack', reasonCode: 0, sessionPresent: false })
  assert.equal((await link.expect('disconnect')).properties.sessionExpiryInterval, 0)
  await diagnosing
})

// Permissions

const policy = (...statements) => ({
  ...passwordAuthorizer('me', 'sesame', {
    ...allow(),
    policyDocuments: [{ Version: '2012-10-17', Statement: statements }],
  }),
})
const statement = (Action, Resource = '*') => ({ Effect: 'Allow', Action, Resource })

for (const [mqttVersion, code] of [
  [3, 'ERR_SUSPECTED_POLICY'],
  [5, 'ERR_SUBSCRIBE_REJECTED'],
]) {
  test(`MQTT ${mqttVersion}: a topic that the policy denies fails at subscribe with ${code}`, async (t) => {
    const { given } = await start(t, { authorizer: policy(statement('iot:Connect')) })
    const diagnosis = await diagnose({ ...given, mqttVersion, topic: 'fleet/+/status' })
    assert.equal(stepOf(diagnosis, 'connack').outcome, 'passed')
    assert.equal(stepOf(diagnosis, 'subscribe').error.code, code)
    assert.match(diagnosis.verdict, /fleet\/\+\/status/)
    assert.match(diagnosis.next, /does not seem to allow iot:Subscribe on topicfilter\/fleet\/\+\/status\./)
  })
}

test('where subscribing and publishing are denied, the verdict names both', async (t) => {
  const { given } = await start(t, { authorizer: policy(statement('iot:Connect')) })
  const { verdict } = await diagnose({ ...given, topic: 'a/b', probePublish: true })
  assert.match(verdict, /SUBSCRIBE to "a\/b": .*; .*PUBLISH to "a\/b": /)
})

test('a topic is subscribed to and nothing is published', async (t) => {
  const { local, given } = await start(t)
  const diagnosis = await diagnose({ ...given, topic: 'a/b' })
  assert.equal(outcomes(diagnosis).at(-1), 'subscribe passed')
  const types = new Set(local.events.map(({ type }) => type))
  assert.equal(types.has('subscribe'), true)
  assert.equal(types.has('publish'), false)
})

test('probePublish publishes to the topic, and says before who gets it', async (t) => {
  const { local, given } = await start(t)
  const diagnosis = await diagnose({ ...given, topic: 'a/b', probePublish: true })
  assert.equal(outcomes(diagnosis).at(-1), 'publish passed')
  assert.match(stepOf(diagnosis, 'login').seen.at(-1), /subscribers and rules get the message/)
  assert.equal(local.events.find(({ type }) => type === 'publish').topic, 'a/b')
})

for (const mqttVersion of [3, 5]) {
  test(`MQTT ${mqttVersion}: a publish that the policy denies fails at publish`, async (t) => {
    const { given } = await start(t, {
      authorizer: policy(statement(['iot:Connect', 'iot:Subscribe', 'iot:Receive'])),
    })
    const diagnosis = await diagnose({ ...given, mqttVersion, topic: 'a/b', probePublish: true })
    assert.deepEqual(outcomes(diagnosis).slice(-2), ['subscribe passed', 'publish failed'])
  })
}

// Credentials

test('the login is shown as IoT Core reads it, with secrets masked', async (t) => {
  const authorizer = signingAuthorizer('tok')
  const { given } = await start(t, { authorizer })
  const { token, signature } = authorizer.signedToken()
  const login = { tokenKeyName: 'tok', tokenValue: token, tokenSignature: signature, password: undefined }
  const diagnosis = await diagnose({ ...given, ...login })
  assert.equal(diagnosis.ok, true)
  const { seen } = stepOf(diagnosis, 'login')
  assert.equal(
    seen[0],
    'user name in CONNECT: me?x-amz-customauthorizer-name=Fleet&x-amz-customauthorizer-signature=***&tok=***',
  )
  assert.equal(
    seen.at(-2),
    `IoT Core reads: authorizer Fleet; tok of ${token.length} characters; a signature of 344 characters`,
  )
})

test('a public key tells whether the signature fits the token', async (t) => {
  const authorizer = signingAuthorizer('tok')
  const { given } = await start(t, { authorizer })
  const { token, signature } = authorizer.signedToken()
  const login = { ...given, password: undefined, tokenKeyName: 'tok', tokenValue: token }
  const publicKey = authorizer.tokenSigningPublicKeys.first
  const good = await diagnose({ ...login, tokenSignature: encodeURIComponent(signature), publicKey })
  assert.equal(stepOf(good, 'signature').outcome, 'passed')
  const other = signingAuthorizer('tok').tokenSigningPublicKeys.first
  const bad = await diagnose({ ...login, tokenSignature: signature, publicKey: other })
  assert.equal(stepOf(bad, 'signature').outcome, 'failed')
  // The stand-in's authorizer has the right key, and lets it in.
  assert.match(bad.verdict, /accepted the connection although the signature is not one of this token/)
})

test('a signature that does not fit explains a refused login, and no other failure', async () => {
  const authorizer = signingAuthorizer('tok')
  const publicKey = signingAuthorizer('tok').tokenSigningPublicKeys.first
  const { token, signature } = authorizer.signedToken()
  const login = { tokenKeyName: 'tok', tokenValue: token, tokenSignature: signature }
  const diagnosis = await diagnose({ endpoint: 'nowhere.invalid', ...login, publicKey })
  assert.equal(stepOf(diagnosis, 'signature').outcome, 'failed')
  assert.equal(diagnosis.error.code, 'ERR_DNS')
})

test('a public key without a token has nothing to check', async (t) => {
  const { given } = await start(t)
  const publicKey = signingAuthorizer('tok').tokenSigningPublicKeys.first
  assert.equal(stepOf(await diagnose({ ...given, publicKey }), 'signature').outcome, 'skipped')
})

test('the function credentials is asked once, and what it gives is used', async (t) => {
  const { given } = await start(t)
  const { username, password, ...fixed } = given
  let asked = 0
  const credentials = () => {
    asked++
    return { username, password, expiresAt: Date.now() + 60_000 }
  }
  const diagnosis = await diagnose({ ...fixed, credentials })
  assert.equal(diagnosis.ok, true)
  assert.equal(asked, 1)
  assert.equal(outcomes(diagnosis)[0], 'credentials passed')
})

test('credentials that fail end the diagnosis before anything is sent', async (t) => {
  const { local, given } = await start(t)
  const thrown = new Error('no token today')
  const credentials = () => Promise.reject(thrown)
  const diagnosis = await diagnose({ endpoint: given.endpoint, port: given.port, credentials })
  assert.deepEqual(outcomes(diagnosis), ['credentials failed'])
  assert.equal(diagnosis.error.code, 'ERR_CREDENTIALS')
  assert.equal(diagnosis.error.cause, thrown)
  assert.equal(local.events.length, 0)
})

test('what the function credentials gives is completed and checked as for a connection', async (t) => {
  const authorizer = signingAuthorizer('tok')
  const { given } = await start(t, { authorizer })
  const { token, signature } = authorizer.signedToken()
  const { password: _password, ...login } = given
  const fixed = { ...login, tokenKeyName: 'tok', tokenSigningKey: 'never used' }
  const signed = { tokenValue: token, tokenSignature: signature }
  assert.equal((await diagnose({ ...fixed, credentials: () => signed })).ok, true)

  const refused = await diagnose({ ...fixed, credentials: () => ({ ...signed, username: 'a\0' }) })
  assert.deepEqual(outcomes(refused), ['credentials failed'])
  assert.equal(refused.error.code, 'ERR_CREDENTIALS')
  assert.match(
    refused.verdict,
    /what credentials\(\) returned for attempt 1 cannot be used: username holds NUL/,
  )
})

test('the function credentials is not asked where an option cannot work', async () => {
  const credentials = () => assert.fail('it was asked')
  for (const wrong of [{ endpoint: 'https://e' }, { endpoint: 'e', password: 'fixed' }]) {
    await assert.rejects(diagnose({ ...wrong, credentials }), { code: 'ERR_INVALID_OPTION' })
  }
})

test('a function credentials that does not answer fails in time, and hears of it', async () => {
  let signal
  const credentials = (attempt) => {
    signal = attempt.signal
    return new Promise(() => {})
  }
  const diagnosis = await diagnose({ endpoint: 'e', credentials, credentialsTimeoutMs: 1 })
  assert.equal(diagnosis.error.message, 'credentials() did not answer within 1 ms')
  assert.equal(signal.aborted, true)
})

test('an abort reaches the function credentials, and nothing is sent', async (t) => {
  const { local, given } = await start(t)
  const { username, password, ...fixed } = given
  const controller = new AbortController()
  const reason = new Error('enough')
  let heard
  const credentials = ({ signal }) => {
    signal.addEventListener('abort', () => (heard = true))
    controller.abort(reason)
    return { username, password }
  }
  await assert.rejects(diagnose({ ...fixed, credentials, signal: controller.signal }), reason)
  assert.equal(heard, true)
  assert.equal(local.events.length, 0)
})

test('an abort as the function credentials ends rejects, and nothing is sent', async (t) => {
  const { local, given } = await start(t)
  for (const credentials of [() => ({}), () => Promise.reject(new Error('none'))]) {
    const controller = new AbortController()
    const onStep = () => controller.abort()
    const diagnosing = diagnose({
      ...given,
      password: undefined,
      credentials,
      onStep,
      signal: controller.signal,
    })
    await assert.rejects(diagnosing, { name: 'AbortError' })
  }
  assert.equal(local.events.length, 0)
})

test('a worker that is terminated takes its diagnosis along', async (t) => {
  const peer = await startPeer()
  t.after(() => peer.close())
  const worker = new Worker(
    `const { workerData } = require('node:worker_threads')
     require(workerData.client).diagnose(workerData.options)`,
    {
      eval: true,
      workerData: {
        client: fileURLToPath(new URL('../dist/client.js', import.meta.url)),
        options: { ...peer.where, clientId: 'new', takeOver: true, topic: 'a/b' },
      },
    },
  )
  const link = await peer.accept()
  await link.expect('connect')
  link.send({ cmd: 'connack', reasonCode: 0, sessionPresent: false })
  await link.expect('subscribe')
  await worker.terminate()
  await link.expect('unsubscribe')
  await link.expect('disconnect')
})

test('an abort after CONNACK takes back what was begun', async (t) => {
  const peer = await startPeer()
  t.after(() => peer.close())
  const controller = new AbortController()
  const ids = { clientId: 'new', takeOver: true }
  const diagnosing = diagnose({ ...peer.where, ...ids, topic: 'a/b', signal: controller.signal })
  const link = await peer.accept()
  await link.expect('connect')
  link.send({ cmd: 'connack', reasonCode: 0, sessionPresent: false })
  await link.expect('subscribe')
  controller.abort()
  await assert.rejects(diagnosing, { name: 'AbortError' })
  await link.expect('unsubscribe')
  assert.equal((await link.expect('disconnect')).properties.sessionExpiryInterval, 0)
})

test('an aborted diagnosis rejects with the reason of the signal, and tells no more', async (t) => {
  const peer = await startPeer()
  t.after(() => peer.close())
  const controller = new AbortController()
  const told = []
  const diagnosing = diagnose({
    ...peer.where,
    signal: controller.signal,
    onStep: ({ name }) => told.push(name),
  })
  const link = await peer.accept()
  await link.expect('connect')
  const reason = new Error('enough')
  controller.abort(reason)
  await assert.rejects(diagnosing, reason)
  await link.closed
  assert.equal(told.includes('connack'), false)
})

// Options

for (const [what, options, message] of [
  ['no endpoint', {}, /^endpoint is missing/],
  ['an unknown option', { endpoint: 'e', topics: 'a' }, /there is no option "topics"/],
  ['a topic of the wrong type', { endpoint: 'e', topic: 1 }, /^topic must be a string/],
  ['a filter that MQTT does not allow', { endpoint: 'e', topic: 'a/#/b' }, /a\/#\/b/],
  [
    'a probe without a topic',
    { endpoint: 'e', probePublish: true },
    /^probePublish needs the option `topic`/,
  ],
  ['a probe with a wildcard', { endpoint: 'e', topic: 'a/+', probePublish: true }, /a\/\+/],
  ['a key that is none', { endpoint: 'e', publicKey: 'PEM' }, /^publicKey is no RSA public key/],
  [
    'a key that is secret',
    { endpoint: 'e', publicKey: createSecretKey(Buffer.alloc(32)) },
    /^publicKey is no RSA/,
  ],
  [
    'a private key in place of the public one',
    {
      endpoint: 'e',
      publicKey: generateKeyPairSync('rsa', {
        modulusLength: 2048,
        publicKeyEncoding: { type: 'spki', format: 'pem' },
        privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
      }).privateKey,
    },
    /^publicKey is no RSA/,
  ],
]) {
  test(`${what} is refused before anything is looked at`, async () => {
    await assert.rejects(diagnose(options), (error) => {
      assert.ok(error instanceof MqttError)
      assert.equal(error.stage, 'options')
      assert.match(error.message, message)
      return true
    })
  })
}
