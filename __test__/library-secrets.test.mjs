import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { inspect } from 'node:util'
import { connectWithCustomAuthorizer, signToken } from '../dist/client.js'
import { handedOut, startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

const privateKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({
  type: 'pkcs8',
  format: 'pem',
})
const password = 'pass-phrase-8731'
const tokenValue = 'token-value-2219'
const tokenSignature = signToken(tokenValue, privateKey)
const payload = 'payload-text-5520'
const keyLine = privateKey.split('\n')[5]
const SECRETS = [password, tokenValue, tokenSignature, encodeURIComponent(tokenSignature), keyLine, payload]
SECRETS.push(...SECRETS.map((secret) => Buffer.from(secret).toString('base64')))
SECRETS.push(...SECRETS.map((secret) => Buffer.from(secret).toString('hex')))

const signed = { tokenKeyName: 'token', tokenValue, tokenSignature }
const credentials = { authorizerName: 'Fleet', username: 'me', password, ...signed }

/** Everything that can be seen of a value. */
function shown(value) {
  const texts = [
    inspect(value, { depth: Infinity, showHidden: true, maxStringLength: null, maxArrayLength: null }),
    String(value),
    String(value?.stack),
    String(value?.cause),
    JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? String(part) : part)) ?? '',
  ]
  return texts.join('\n')
}

function holdsNoSecret(value) {
  const text = shown(value)
  for (const secret of SECRETS) assert.ok(!text.includes(secret), `${secret} in ${text}`)
}

test('no error of connecting, no log record of any level, and no connection shows a secret', async () => {
  const records = []
  const log = { logLevel: 'trace', logger: (record) => records.push(record) }
  const refused = connectWithCustomAuthorizer({ ...peer.where, ...credentials, ...log })
  const first = await peer.accept()
  const { username, password: sent } = await first.expect('connect')
  // That they are sent is what makes this test one.
  assert.equal(sent.toString(), password)
  assert.match(username, /token-value-2219/)
  first.send({ cmd: 'connack', reasonCode: 0x87 })
  holdsNoSecret(await refused.catch((error) => error))

  const { connection, link } = await peer.connect({ ...credentials, ...log, reconnect: false })
  const subscribing = connection.subscribe('a', {}, () => {})
  await link.grant()
  const subscription = await subscribing
  link.send({ cmd: 'publish', topic: 'a', payload })
  await handedOut(connection, link)
  await assert.rejects(connection.publish('a/#', payload), (error) => (holdsNoSecret(error), true))
  const open = connection.publish('b', payload)
  await link.until('b')
  holdsNoSecret(connection)
  holdsNoSecret(subscription)
  link.send({ cmd: 'disconnect', reasonCode: 0x87 })
  holdsNoSecret(await open.catch((error) => error))
  holdsNoSecret(await connection.closed)
  assert.ok(records.some(({ level }) => level === 'trace'))
  holdsNoSecret(records)
})

// Each secret in the wrong place or of the wrong form: what is said about it must not repeat it.
for (const [what, options] of [
  ['an incomplete token', { tokenValue, tokenSignature }],
  ['a token without a signature', { tokenKeyName: 'token', tokenValue }],
  ['a signature that is not base64', { ...signed, tokenSignature: `${tokenValue} %%` }],
  ['a signing key that is none', { tokenKeyName: 'token', tokenValue, tokenSigningKey: password }],
  ['a signing key beside a signature', { ...signed, tokenSigningKey: privateKey }],
  ['a public KeyObject', { tokenKeyName: 'token', tokenValue, tokenSigningKey: { pem: privateKey } }],
  ['a password of the wrong type', { password: [password] }],
  ['a token of the wrong type', { tokenValue: { tokenValue } }],
  ['a user name with another token', { ...signed, username: `me?token=${password}` }],
  [
    'a user name with another signature',
    {
      ...signed,
      username: `me?x-amz-customauthorizer-signature=${password}`,
    },
  ],
  ['a password without a user name', { mqttVersion: 3, password }],
  ['a password that is too long', { username: 'me', password: password.repeat(5_000) }],
  ['a token that is too long', { ...signed, tokenValue: tokenValue.repeat(5_000) }],
  ['a token with NUL', { ...signed, tokenValue: `${tokenValue}\0`, tokenEncoding: 'raw' }],
  ['a certificate authority that is a key', { tls: { ca: privateKey } }],
]) {
  test(`${what}: the error shows no secret`, async () => {
    const error = await connectWithCustomAuthorizer({ ...peer.where, ...options }).catch((reason) => reason)
    assert.equal(error.name, 'MqttError')
    holdsNoSecret(error)
  })
}

test('neither attempts nor credentials(), a will, an interruption and its diagnostics show a secret', async (t) => {
  const told = []
  const tell = (...what) => void told.push(what)
  const channels = ['attempt', 'connect', 'interrupt', 'resume', 'closed']
  for (const channel of channels) {
    subscribe(`custom-authorizer-connect:${channel}`, tell)
    t.after(() => unsubscribe(`custom-authorizer-connect:${channel}`, tell))
  }
  const connecting = connectWithCustomAuthorizer({
    ...peer.where,
    limits: 'none',
    initialConnect: 'retry',
    reconnect: { minDelayMs: 1, maxDelayMs: 20, spreadMs: 0 },
    authorizerName: 'Fleet',
    credentials: (attempt) => {
      tell(attempt)
      // The second answer is of the wrong form.
      return { ...credentials, tokenSignature: attempt.number === 2 ? `${tokenValue} %%` : tokenSignature }
    },
    will: { topic: 'gone', payload, properties: { correlationData: payload, userProperties: { payload } } },
    connectProperties: { userProperties: { payload } },
    onAttempt: tell,
    logLevel: 'trace',
    logger: tell,
  })
  const refused = await peer.accept()
  const { password: sent, will } = await refused.expect('connect')
  assert.deepEqual([sent.toString(), will.payload.toString()], [password, payload])
  refused.send({ cmd: 'connack', reasonCode: 0x87 })
  const first = await peer.welcome()
  const connection = await connecting
  for (const event of ['connect', 'interrupt', 'resume', 'closed']) connection.on(event, tell)
  const resumed = once(connection, 'resume')
  first.destroy()
  await peer.welcome()
  await resumed
  tell(connection.stats(), connection)
  await connection.disconnect({ force: true })
  const texts = shown(told)
  for (const part of ['ERR_NOT_AUTHORIZED', 'ERR_CREDENTIALS', 'ERR_CONNECTION_LOST', 'downMs']) {
    assert.ok(texts.includes(part), part)
  }
  holdsNoSecret(told)
})

test('signToken shows no secret', () => {
  for (const [token, key] of [
    [tokenValue, password],
    ['', privateKey],
    [tokenValue, { key: privateKey }],
  ]) {
    assert.throws(
      () => signToken(token, key),
      (error) => (holdsNoSecret(error), true),
    )
  }
})

test('a failed handler is logged with its error, not with the message', async () => {
  const records = []
  const { connection, link } = await peer.connect({
    logLevel: 'trace',
    logger: (record) => records.push(record),
    onMessage: () => {
      throw new Error('broken')
    },
  })
  link.send({ cmd: 'publish', topic: 'a', payload })
  await handedOut(connection, link)
  assert.ok(records.some(({ message }) => message.includes('broken')))
  holdsNoSecret(records)
  await connection.disconnect()
})

for (const [when, say] of [
  [
    'CONNACK',
    (link, reasonString) => link.send({ cmd: 'connack', reasonCode: 0x87, properties: { reasonString } }),
  ],
  [
    'CONNACK that accepts, and then DISCONNECT,',
    (link, reasonString) => {
      link.send({ cmd: 'connack', reasonCode: 0, sessionPresent: false, properties: { reasonString } })
      link.send({ cmd: 'disconnect', reasonCode: 0x87, properties: { reasonString } })
    },
  ],
  [
    'DISCONNECT before CONNACK',
    (link, reasonString) => link.send({ cmd: 'disconnect', reasonCode: 0x87, properties: { reasonString } }),
  ],
]) {
  test(`a server whose ${when} repeats the login in its reason gets no secret into an error`, async () => {
    const records = []
    const connecting = connectWithCustomAuthorizer({
      ...peer.where,
      ...credentials,
      reconnect: false,
      logLevel: 'trace',
      logger: (record) => records.push(record),
    })
    connecting.catch(() => {})
    const link = await peer.accept()
    const { username } = await link.expect('connect')
    say(link, `no entry for ${username} with ${password}`)
    const error = await connecting.then(
      async (connection) => (await connection.closed).error,
      (reason) => reason,
    )
    assert.equal(error.reasonCode, 0x87)
    assert.equal(error.reasonString, undefined)
    holdsNoSecret(error)
    holdsNoSecret(records)
  })
}
