import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { startScriptedProxy } from './support/scripted-http.mjs'
import { refuse, startEndingPeer, turnAway } from './support/scripted-peer.mjs'

const peer = await startEndingPeer()
after(() => peer.close())

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
/** A JWT with these claims; its signature is what nobody may read. */
const jwt = (claims) => `${encode({ alg: 'RS256' })}.${encode(claims)}.c3ByaW5nLWxvYWRlZA`
const secondsFromNow = (seconds) => Math.floor(Date.now() / 1_000) + seconds

/** Collects the messages of log records. */
function log() {
  const records = []
  return { records, logger: (record) => records.push(record) }
}

/** The error of a connection to IoT Core's own endpoint, of which nothing leaves this machine. */
async function atAws(t, options) {
  const proxy = await startScriptedProxy({ answer: () => 'HTTP/1.1 403 Forbidden\r\n\r\n' })
  t.after(() => proxy.close())
  return await connectWithCustomAuthorizer({
    endpoint: 'abc-ats.iot.eu-west-1.amazonaws.com',
    proxy: proxy.urlFor(),
    ...options,
  }).catch((reason) => reason)
}

test('a password that is an expired JWT: told at every log level, on the error, and first in its hint', async () => {
  for (const logLevel of [undefined, 'none', 'error', 'trace']) {
    const { records, logger } = log()
    const password = jwt({ exp: secondsFromNow(-185) })
    const connecting = connectWithCustomAuthorizer({
      ...peer.where,
      authorizerName: 'Fleet',
      clientId: 'thermostat-7',
      username: 'me',
      password,
      logLevel,
      logger,
    })
    connecting.catch(() => {})
    await turnAway(peer)
    const error = await connecting.catch((reason) => reason)
    assert.equal(error.code, 'ERR_CLOSED_BEFORE_CONNACK')
    const warning = "password is a JWT that expired 3 minutes ago by this machine's clock"
    assert.deepEqual(error.warnings, [warning])
    const told = records.filter(({ level }) => level === 'warn')
    assert.deepEqual(
      told.map(({ message, clientId }) => ({ message, clientId })),
      [{ message: warning, clientId: 'thermostat-7' }],
    )
    if (logLevel !== 'trace' && logLevel !== 'error') assert.equal(records.length, 1)
    assert.match(error.hint, new RegExp(`In order of likelihood: ${warning}; the authorizer answered`))
    assert.doesNotMatch(JSON.stringify([error, records]), /c3ByaW5n/)
  }
})

test('the list of a refusal leaves out what is ruled out', async () => {
  const hintOf = async (options) => {
    const connecting = connectWithCustomAuthorizer({ ...peer.where, clientId: 'c-1', ...options })
    connecting.catch(() => {})
    await refuse(peer)
    const { code, hint, retryable } = await connecting.catch((reason) => reason)
    assert.deepEqual({ code, retryable }, { code: 'ERR_NOT_AUTHORIZED', retryable: true })
    return hint
  }
  const signed = await hintOf({
    authorizerName: 'Fleet',
    tokenKeyName: 'tok',
    tokenValue: 't',
    tokenSignature: 'AAAA',
  })
  assert.match(
    signed,
    /isAuthenticated: false; .*iot:Connect .*"c-1"; the signature .*; the authorizer name "Fleet" .*INACTIVE; .*add-permission\); the Lambda failed/,
  )
  const plain = await hintOf({ username: 'me', password: 'p' })
  assert.doesNotMatch(plain, /signature|ALPN|name is wrong/)
  assert.match(plain, /no authorizer was named/)
  assert.match(plain, /log of custom-authorizer-local/)
})

test('what credentials() returns is looked at as well, and told once', async () => {
  const { records, logger } = log()
  const attempts = []
  const connecting = peer.dial({
    initialConnect: 'retry',
    clientId: 'my-device',
    logger,
    credentials: ({ number }) => ({
      authorizerName: 'Fleet',
      username: 'me',
      password: number === 3 ? 'fine' : jwt({ nbf: secondsFromNow(86_400 * 3 + 60) }),
    }),
    onAttempt: ({ error }) => attempts.push(error?.warnings),
  })
  await turnAway(peer)
  await turnAway(peer)
  await peer.welcome()
  const connection = await connecting
  assert.equal(records.length, 2)
  assert.match(records[0].message, /^clientId "my-device" looks like a placeholder/)
  assert.match(records[1].message, /^password is a JWT that becomes valid in 3 days only/)
  const both = records.map(({ message }) => message)
  assert.deepEqual(attempts, [both, both, undefined])
  await connection.disconnect()
})

test('a JWT that grows older from attempt to attempt is told once', async () => {
  const { records, logger } = log()
  const ages = [5, 300, 100_000]
  const warnings = []
  const connecting = peer.dial({
    initialConnect: 'retry',
    clientId: 'thermostat-7',
    logger,
    credentials: ({ number }) => ({
      username: 'me',
      password: jwt({ exp: secondsFromNow(-(ages[number - 1] ?? 5)) }),
    }),
    onAttempt: ({ error }) => warnings.push(...(error?.warnings ?? [])),
  })
  await turnAway(peer)
  await turnAway(peer)
  await turnAway(peer)
  await peer.welcome()
  const connection = await connecting
  for (const warning of [...warnings, ...records.map(({ message }) => message)]) {
    assert.match(warning, /^password is a JWT that expired/)
  }
  assert.equal(new Set(warnings).size, ages.length)
  assert.equal(records.length, 1)
  await connection.disconnect()
})

test('credentials that fail keep no warning about the options from the log and the error', async () => {
  const { records, logger } = log()
  const error = await connectWithCustomAuthorizer({
    ...peer.where,
    clientId: 'example',
    logger,
    credentials: () => {
      throw new Error('no token')
    },
  }).catch((reason) => reason)
  assert.equal(error.code, 'ERR_CREDENTIALS')
  assert.deepEqual(
    records.map(({ message }) => message),
    error.warnings,
  )
  assert.match(error.warnings[0], /^clientId "example"/)
})

test("suspicious options on IoT Core's own endpoints, of each kind one", async (t) => {
  const error = await atAws(t, {
    endpoint: 'abc.iot.eu-west-1.amazonaws.com',
    port: 8883,
    clientId: '<client-id>',
    authorizerName: 'My Fleet',
    tokenEncoding: 'raw',
    tokenKeyName: 'tok',
    tokenValue: 'a+b',
    tokenSignature: Buffer.alloc(255).toString('base64'),
  })
  assert.equal(error.code, 'ERR_PROXY')
  const expected = [
    /^port is 8883/,
    /^endpoint .* abc-ats/,
    /^clientId "<client-id>"/,
    /^authorizerName holds a character that has to be percent-encoded/,
    /^tokenValue holds a character that has to be percent-encoded/,
    /^authorizerName "My Fleet" holds white space/,
    /^tokenSignature has 255 bytes/,
  ]
  assert.equal(error.warnings.length, expected.length, error.warnings.join('\n'))
  for (const [at, pattern] of expected.entries()) assert.match(error.warnings[at], pattern)
})

test('nothing suspicious: no warnings', async (t) => {
  const error = await atAws(t, {
    clientId: 'thermostat-7',
    authorizerName: 'Fleet',
    tokenKeyName: 'tok',
    tokenValue: jwt({ exp: secondsFromNow(60) }),
    tokenSignature: Buffer.alloc(256, 1).toString('base64'),
  })
  assert.equal(error.code, 'ERR_PROXY')
  assert.equal('warnings' in error, false)
})
