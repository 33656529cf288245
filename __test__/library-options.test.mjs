import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { connectWithCustomAuthorizer, MqttError } from '../dist/client.js'

const accepted = []
const listener = createServer((socket) => {
  accepted.push(socket.remotePort)
  socket.destroy()
}).listen(0, '127.0.0.1')
await once(listener, 'listening')
after(() => listener.close())
const { port } = listener.address()

const directory = mkdtempSync(join(tmpdir(), 'library-options-'))
after(() => rmSync(directory, { recursive: true }))
const noCertificate = join(directory, 'no-certificate.pem')
writeFileSync(noCertificate, 'nothing of the kind\n')
const brokenCertificate = join(directory, 'broken.pem')
writeFileSync(brokenCertificate, '-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n')

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const pem = (key, type = 'pkcs8') => key.export({ type, format: 'pem' })
const small = generateKeyPairSync('rsa', { modulusLength: 1024 })

const OPTION = 'ERR_INVALID_OPTION'
const TOKEN = 'ERR_INCOMPLETE_TOKEN'
const token = { tokenKeyName: 'token', tokenValue: 'value' }
const signed = (tokenSigningKey) => ({ ...token, tokenSigningKey })

// What is wrong, the options beside a good endpoint and port, the code, and what the message names.
for (const [what, options, code, named] of [
  ['no endpoint', { endpoint: undefined }, OPTION, 'endpoint'],
  ['an empty endpoint', { endpoint: '' }, OPTION, 'endpoint'],
  ['an endpoint that is no string', { endpoint: 42 }, OPTION, 'endpoint'],
  ['a URL as endpoint', { endpoint: 'mqtts://localhost' }, OPTION, 'endpoint'],
  ['an https URL as endpoint', { endpoint: 'https://localhost/' }, OPTION, 'endpoint'],
  ['an endpoint with a path', { endpoint: 'localhost/mqtt' }, OPTION, 'endpoint'],
  ['an endpoint with a port', { endpoint: 'localhost:443' }, OPTION, /endpoint.*port/],
  ['an endpoint with a user', { endpoint: 'me@localhost' }, OPTION, 'endpoint'],
  ['an endpoint with white space', { endpoint: ' localhost' }, OPTION, 'endpoint'],
  ['an endpoint that is no host name', { endpoint: 'a..b' }, OPTION, 'endpoint'],
  ['an endpoint with a label of 64 letters', { endpoint: `${'x'.repeat(64)}.com` }, OPTION, 'endpoint'],
  ['port 0', { port: 0 }, OPTION, 'port'],
  ['port 65536', { port: 65_536 }, OPTION, 'port'],
  ['port -1', { port: -1 }, OPTION, 'port'],
  ['port 1.5', { port: 1.5 }, OPTION, 'port'],
  ['port NaN', { port: Number.NaN }, OPTION, 'port'],
  ['port "443"', { port: '443' }, OPTION, 'port'],
  ['port null', { port: null }, OPTION, 'port'],
  ['a client id of 129 bytes', { clientId: 'x'.repeat(129) }, OPTION, 'clientId'],
  ['a client id of 65 letters in 130 bytes', { clientId: 'é'.repeat(65) }, OPTION, 'clientId'],
  ['a client id with NUL', { clientId: 'a\0b' }, OPTION, 'clientId'],
  ['cleanSession: false without a client id', { cleanSession: false }, OPTION, 'clientId'],
  ['cleanSession: false with an empty client id', { cleanSession: false, clientId: '' }, OPTION, 'clientId'],
  ['cleanSession "no"', { cleanSession: 'no' }, OPTION, 'cleanSession'],
  ['mqttVersion 4', { mqttVersion: 4 }, OPTION, /mqttVersion.*3/],
  ['mqttVersion 3.1', { mqttVersion: 3.1 }, OPTION, 'mqttVersion'],
  ['mqttVersion "5"', { mqttVersion: '5' }, OPTION, 'mqttVersion'],
  ['keep-alive under 30 s', { keepAliveSeconds: 29 }, OPTION, 'keepAliveSeconds'],
  ['keep-alive over 1,200 s', { keepAliveSeconds: 1_201 }, OPTION, 'keepAliveSeconds'],
  [
    'keep-alive over 65,535 s without limits',
    { keepAliveSeconds: 65_536, limits: 'none' },
    OPTION,
    'keepAliveSeconds',
  ],
  ['pingTimeoutMs 0', { pingTimeoutMs: 0 }, OPTION, 'pingTimeoutMs'],
  ['connectTimeoutMs 0', { connectTimeoutMs: 0 }, OPTION, 'connectTimeoutMs'],
  ['connectTimeoutMs Infinity', { connectTimeoutMs: Infinity }, OPTION, 'connectTimeoutMs'],
  ['ackTimeoutMs -1', { ackTimeoutMs: -1 }, OPTION, 'ackTimeoutMs'],
  ['sessionExpirySeconds 2^32', { sessionExpirySeconds: 2 ** 32 }, OPTION, 'sessionExpirySeconds'],
  ['queue.maxMessages 0', { queue: { maxMessages: 0 } }, OPTION, 'queue.maxMessages'],
  ['queue.maxBytes -1', { queue: { maxBytes: -1 } }, OPTION, 'queue.maxBytes'],
  ['queue "large"', { queue: 'large' }, OPTION, 'queue'],
  ['queue null', { queue: null }, OPTION, 'queue'],
  ['an unknown option of queue', { queue: { max: 1 } }, OPTION, 'queue."max"'],
  ['receive.maxMessages 0', { receive: { maxMessages: 0 } }, OPTION, 'receive.maxMessages'],
  ['receive.maxMessages 65536', { receive: { maxMessages: 65_536 } }, OPTION, 'receive.maxMessages'],
  ['receive.maxBytes 0', { receive: { maxBytes: 0 } }, OPTION, 'receive.maxBytes'],
  ["queue.whenFull 'drop'", { queue: { whenFull: 'drop' } }, OPTION, 'queue.whenFull'],
  ["queue.qos0 'drop'", { queue: { qos0: 'drop' } }, OPTION, 'queue.qos0'],
  ['reconnect true', { reconnect: true }, OPTION, 'reconnect'],
  ['reconnect null', { reconnect: null }, OPTION, 'reconnect'],
  ['an unknown option of reconnect', { reconnect: { minDelay: 1 } }, OPTION, 'reconnect."minDelay"'],
  ['reconnect.minDelayMs -1', { reconnect: { minDelayMs: -1 } }, OPTION, 'reconnect.minDelayMs'],
  ['reconnect.minDelayMs NaN', { reconnect: { minDelayMs: Number.NaN } }, OPTION, 'reconnect.minDelayMs'],
  ['reconnect.maxDelayMs 0', { reconnect: { maxDelayMs: 0 } }, OPTION, 'reconnect.maxDelayMs'],
  [
    'a bound under the delay',
    { reconnect: { minDelayMs: 10, maxDelayMs: 5 } },
    OPTION,
    /maxDelayMs.*minDelayMs/,
  ],
  ['reconnect.stableAfterMs -1', { reconnect: { stableAfterMs: -1 } }, OPTION, 'reconnect.stableAfterMs'],
  ['reconnect.spreadMs Infinity', { reconnect: { spreadMs: Infinity } }, OPTION, 'reconnect.spreadMs'],
  ['reconnect.maxAttempts 0', { reconnect: { maxAttempts: 0 } }, OPTION, 'reconnect.maxAttempts'],
  ['reconnect.stopAfterRefusals 1.5', { reconnect: { stopAfterRefusals: 1.5 } }, OPTION, 'stopAfterRefusals'],
  ['reconnect.renewAfterSeconds 74', { reconnect: { renewAfterSeconds: 74 } }, OPTION, 'renewAfterSeconds'],
  [
    'a renewal after more than 7 days',
    { reconnect: { renewAfterSeconds: 604_801 } },
    OPTION,
    'renewAfterSeconds',
  ],
  ["initialConnect 'lazy'", { initialConnect: 'lazy' }, OPTION, 'initialConnect'],
  [
    'cleanSession: false without a client id in the background',
    { initialConnect: 'background', cleanSession: false },
    OPTION,
    'clientId',
  ],
  ['onAttempt that is no function', { onAttempt: true }, OPTION, 'onAttempt'],
  ['topicAliases "yes"', { topicAliases: 'yes' }, OPTION, 'topicAliases'],
  ['MQTT 3.1.1: topicAliases', { mqttVersion: 3, topicAliases: true }, OPTION, 'topicAliases'],
  ["limits 'aws'", { limits: 'aws' }, OPTION, 'limits'],
  ['limits that are an array', { limits: [] }, OPTION, 'limits'],
  ['an unknown limit', { limits: { inflight: 1 } }, OPTION, 'limits."inflight"'],
  ['limits.inFlight true', { limits: { inFlight: true } }, OPTION, 'limits.inFlight'],
  ['limits.inFlight 65536', { limits: { inFlight: 65_536 } }, OPTION, 'limits.inFlight'],
  ['limits.publishesPerSecond 0', { limits: { publishesPerSecond: 0 } }, OPTION, 'limits.publishesPerSecond'],
  ['limits.bytesPerSecond -1', { limits: { bytesPerSecond: -1 } }, OPTION, 'limits.bytesPerSecond'],
  ['limits.subscriptions NaN', { limits: { subscriptions: Number.NaN } }, OPTION, 'limits.subscriptions'],
  ["logLevel 'verbose'", { logLevel: 'verbose' }, OPTION, 'logLevel'],
  ['a logger that is no function', { logger: console }, OPTION, 'logger'],
  ['onMessage that is no function', { onMessage: true }, OPTION, 'onMessage'],
  ['manualAck "yes"', { manualAck: 'yes' }, OPTION, 'manualAck'],
  ['a signal that is none', { signal: new AbortController() }, OPTION, 'signal'],
  ['an unknown option', { clientID: 'me' }, OPTION, '"clientID"'],

  ['a will without a topic', { will: { payload: '' } }, OPTION, 'will'],
  ['a will without a payload', { will: { topic: 'a' } }, OPTION, 'will'],
  ['a will with a wildcard', { will: { topic: 'a/#', payload: '' } }, OPTION, /will.*"a\/#"/],
  ['a will of QoS 2', { will: { topic: 'a', payload: '', qos: 2 } }, OPTION, 'will.qos'],
  ['a will over 128 KiB', { will: { topic: 'a', payload: Buffer.alloc(131_073) } }, OPTION, /will.*131072/],
  ['a will that is a number', { will: { topic: 'a', payload: 42 } }, OPTION, 'payload'],
  ['will.retain "yes"', { will: { topic: 'a', payload: '', retain: 'yes' } }, OPTION, 'will.retain'],
  [
    'will.delaySeconds -1',
    { will: { topic: 'a', payload: '', delaySeconds: -1 } },
    OPTION,
    'will.delaySeconds',
  ],
  ['an unknown option of will', { will: { topic: 'a', payload: '', QoS: 1 } }, OPTION, 'will."QoS"'],
  [
    'an unknown property of a will',
    { will: { topic: 'a', payload: '', properties: { type: 'x' } } },
    OPTION,
    'will.properties."type"',
  ],
  [
    'a response topic with a wildcard',
    { will: { topic: 'a', payload: '', properties: { responseTopic: 'a/#' } } },
    OPTION,
    'responseTopic',
  ],
  [
    'MQTT 3.1.1: a will with a delay',
    { mqttVersion: 3, will: { topic: 'a', payload: '', delaySeconds: 1 } },
    OPTION,
    'will.delaySeconds',
  ],
  ['an unknown property of CONNECT', { connectProperties: { user: {} } }, OPTION, 'connectProperties."user"'],
  [
    'a user property that is a number',
    { connectProperties: { userProperties: { a: 1 } } },
    OPTION,
    'connectProperties.userProperties',
  ],
  [
    'a user property with NUL',
    { connectProperties: { userProperties: { a: 'b\0' } } },
    OPTION,
    'connectProperties.userProperties',
  ],
  [
    'a user property of 64 KiB',
    { connectProperties: { userProperties: { a: 'x'.repeat(65_536) } } },
    OPTION,
    'connectProperties.userProperties',
  ],
  [
    'MQTT 3.1.1: user properties',
    { mqttVersion: 3, connectProperties: { userProperties: { a: 'b' } } },
    OPTION,
    'connectProperties',
  ],

  ['credentials that are no function', { credentials: { password: 'p' } }, OPTION, 'credentials'],
  [
    'a password beside credentials',
    { credentials: () => ({}), password: 'p' },
    OPTION,
    /password.*credentials/,
  ],
  [
    'a token beside credentials',
    { credentials: () => ({}), tokenValue: 'v' },
    OPTION,
    /tokenValue.*credentials/,
  ],
  [
    'a signature beside credentials',
    { credentials: () => ({}), tokenSignature: 'c2ln' },
    OPTION,
    /tokenSignature.*credentials/,
  ],
  [
    'credentialsTimeoutMs 0',
    { credentials: () => ({}), credentialsTimeoutMs: 0 },
    OPTION,
    'credentialsTimeoutMs',
  ],

  ['a CA file that is not there', { tls: { caFile: '/nowhere/ca.pem' } }, OPTION, 'tls.caFile'],
  ['a CA file that is a directory', { tls: { caFile: directory } }, OPTION, 'tls.caFile'],
  ['a CA file without a certificate', { tls: { caFile: noCertificate } }, OPTION, 'tls.caFile'],
  ['a CA file with a broken certificate', { tls: { caFile: brokenCertificate } }, OPTION, 'tls.caFile'],
  ['a CA without a certificate', { tls: { ca: 'nothing' } }, OPTION, 'tls.ca'],
  ['a CA that is a private key', { tls: { ca: pem(rsa.privateKey) } }, OPTION, 'tls.ca'],
  ['an empty CA', { tls: { ca: '' } }, OPTION, 'tls.ca'],
  ['no CA at all', { tls: { ca: [] } }, OPTION, 'tls.ca'],
  ['a CA that is no text', { tls: { ca: [42] } }, OPTION, 'tls.ca'],
  ['turning verification off', { tls: { rejectUnauthorized: false } }, OPTION, 'tls."rejectUnauthorized"'],

  ['a token without its key name', { tokenValue: 'v', tokenSignature: 'c2ln' }, TOKEN, 'tokenKeyName'],
  ['a token without its signature', token, TOKEN, /tokenSignature|tokenSigningKey/],
  ['a signature without a token', { tokenKeyName: 'k', tokenSignature: 'c2ln' }, TOKEN, 'tokenValue'],
  ['a key name alone', { tokenKeyName: 'k' }, TOKEN, 'tokenValue'],
  ['a signing key without a token', { tokenSigningKey: pem(rsa.privateKey) }, TOKEN, 'tokenValue'],
  ['a signature that is not base64', { ...token, tokenSignature: 'no base64!' }, OPTION, 'tokenSignature'],
  [
    'a signature and a signing key',
    { ...token, tokenSignature: 'c2ln', tokenSigningKey: pem(rsa.privateKey) },
    OPTION,
    'tokenSigningKey',
  ],
  ['a signing key that is no key', signed('secret'), OPTION, 'tokenSigningKey'],
  ['an EC signing key', signed(pem(ec.privateKey)), OPTION, 'tokenSigningKey'],
  ['an EC signing key as KeyObject', signed(ec.privateKey), OPTION, 'tokenSigningKey'],
  ['a public key as signing key', signed(pem(rsa.publicKey, 'spki')), OPTION, 'tokenSigningKey'],
  ['a public KeyObject as signing key', signed(rsa.publicKey), OPTION, 'tokenSigningKey'],
  ['an RSA signing key of 1024 bits', signed(pem(small.privateKey)), OPTION, 'tokenSigningKey'],
  ['tokenEncoding "base64"', { tokenEncoding: 'base64' }, OPTION, 'tokenEncoding'],
  [
    'a user name with another authorizer',
    { authorizerName: 'Fleet', username: 'me?x-amz-customauthorizer-name=Other' },
    OPTION,
    /authorizer/i,
  ],
  [
    'a user name with another token',
    { ...token, tokenSignature: 'c2ln', username: 'me?token=another' },
    OPTION,
    /username|tokenValue|tokenKeyName/,
  ],
  ['MQTT 3.1.1: a password without a user name', { mqttVersion: 3, password: 'p' }, OPTION, 'user name'],
  ['a password that is a number', { password: 1234 }, OPTION, 'password'],
  ['a user name that is a Buffer', { username: Buffer.from('me') }, OPTION, 'username'],
  ['a user name with NUL', { username: 'm\0e' }, OPTION, 'username'],
  ['a user name of 64 KiB', { username: 'x'.repeat(65_536) }, OPTION, 'username'],
  ['a password of 64 KiB', { username: 'me', password: 'x'.repeat(65_536) }, OPTION, 'password'],
]) {
  test(`${what}: ${code}`, async () => {
    await assert.rejects(
      connectWithCustomAuthorizer({ endpoint: 'localhost', port, ...options }),
      (error) => {
        assert.ok(error instanceof MqttError)
        assert.equal(error.code, code, error.message)
        assert.equal(error.stage, 'options')
        assert.equal(error.retryable, false)
        if (named instanceof RegExp) assert.match(error.message, named)
        else assert.ok(error.message.includes(named), error.message)
        return true
      },
    )
  })
}

for (const options of [undefined, null, 'localhost', [], 42]) {
  test(`options that are ${JSON.stringify(options)}: ERR_INVALID_OPTION`, async () => {
    await assert.rejects(connectWithCustomAuthorizer(options), { name: 'MqttError', code: OPTION })
  })
}

test('none of these has opened a connection', async () => {
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'close')
  assert.deepEqual(accepted, [accepted.at(-1)])
})
