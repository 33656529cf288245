import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { SignJWT } from 'jose'
import { connectMqtt, createTokenKey, lastOfType, start } from './support.mjs'

const example = (name) => fileURLToPath(new URL(`../../examples/${name}`, import.meta.url))
const SECRET = 'a secret of the tests, which is long enough'
const secretKey = new TextEncoder().encode(SECRET)

/** Connects as this device, and expects the example's policy: its own topics and no others. */
async function expectDevice(t, endpoint, device, credentials) {
  const client = await connectMqtt(t, endpoint, { clientId: device, ...credentials })
  const received = once(client, 'message')
  const [own] = await client.subscribeAsync(`devices/${device}/#`, { qos: 1 })
  const refused = await client.subscribeAsync('devices/other/#', { qos: 1 }).catch((error) => error)
  await client.publishAsync(`devices/${device}/hello`, 'hi', { qos: 1 })
  const [topic] = await received
  assert.equal(own.qos, 1)
  assert.ok(refused instanceof Error, 'the policy must not allow the topics of others')
  assert.equal(topic, `devices/${device}/hello`)
  assert.equal(lastOfType(endpoint, 'connected').principalId, device.replaceAll('-', ''))
}

async function expectRefusal(t, endpoint, rule, options) {
  await assert.rejects(connectMqtt(t, endpoint, options), { code: 0x87 })
  assert.equal(lastOfType(endpoint, 'connect-refused').rule, rule)
}

const signJwt = (claims = {}, { alg = 'HS256', key = secretKey, expires = '1h' } = {}) =>
  new SignJWT({ sub: 'thermostat-9', ...claims })
    .setProtectedHeader({ alg })
    .setExpirationTime(expires)
    .sign(key)

describe('unsigned-authorizer.mjs', () => {
  const authorizers = { Unsigned: { module: example('unsigned-authorizer.mjs'), signingDisabled: true } }

  test('connects a device by user name and password', async (t) => {
    const endpoint = await start(t, { authorizers, defaultAuthorizer: 'Unsigned' })
    await expectDevice(t, endpoint, 'thermostat-7', {
      username: 'thermostat-7',
      password: 'Zq7-drizzle-4410',
    })
  })

  test('refuses a wrong password', async (t) => {
    const endpoint = await start(t, { authorizers, defaultAuthorizer: 'Unsigned' })
    await expectRefusal(t, endpoint, 'not-authenticated', { username: 'thermostat-7', password: 'guessed' })
  })
})

describe('signed-authorizer.mjs', () => {
  const key = createTokenKey()
  const authorizers = {
    Signed: {
      module: example('signed-authorizer.mjs'),
      tokenKeyName: 'token',
      tokenSigningPublicKeys: { 'key-1': key.pem },
    },
  }
  const username = (token) =>
    `?token=${token}&x-amz-customauthorizer-signature=${encodeURIComponent(key.sign(token))}`

  test('connects a device by a signed token', async (t) => {
    const endpoint = await start(t, { authorizers, defaultAuthorizer: 'Signed' })
    const end = Math.floor(Date.now() / 1000) + 3600
    await expectDevice(t, endpoint, 'thermostat-8', { username: username(`thermostat-8.${end}`) })
  })

  test('refuses a token that has ended', async (t) => {
    const endpoint = await start(t, { authorizers, defaultAuthorizer: 'Signed' })
    await expectRefusal(t, endpoint, 'not-authenticated', { username: username('thermostat-8.1') })
  })
})

/** What both JWT examples do. `authorizer()` is where the handler is, with JWT_SECRET set to SECRET. */
function describeJwt(authorizer) {
  const startJwt = (t) =>
    start(t, {
      authorizers: { Jwt: { ...authorizer(), signingDisabled: true, tokenKeyName: 'token' } },
      defaultAuthorizer: 'Jwt',
    })

  test('connects a device by a token as its password', async (t) => {
    await expectDevice(t, await startJwt(t), 'thermostat-9', { username: 'any', password: await signJwt() })
  })

  test('connects a device by a token in its user name', async (t) => {
    await expectDevice(t, await startJwt(t), 'thermostat-9', { username: `?token=${await signJwt()}` })
  })

  test('ends the connection with the token', async (t) => {
    const endpoint = await startJwt(t)
    const expires = Math.floor(Date.now() / 1000) + 100_000
    const { disconnectAfterInSeconds } = await endpoint.testInvokeAuthorizer({
      token: await signJwt({}, { expires }),
    })
    assert.equal(disconnectAfterInSeconds, 86_400)
  })

  test('a token for another client id connects nobody', async (t) => {
    const options = { clientId: 'thermostat-1', username: 'any', password: await signJwt() }
    await expectRefusal(t, await startJwt(t), 'connect-denied', options)
  })

  const other = new TextEncoder().encode('another secret that is long enough too')
  const none = (part) => Buffer.from(JSON.stringify(part)).toString('base64url')
  for (const [what, token] of [
    ['that has expired', () => signJwt({}, { expires: 1 })],
    ['that is not valid yet', () => signJwt({ nbf: 32_503_680_000 })],
    ['of another secret', () => signJwt({}, { key: other })],
    ['of another algorithm', () => signJwt({}, { alg: 'HS512' })],
    [
      'without a signature',
      () => `${none({ alg: 'none' })}.${none({ sub: 'thermostat-9', exp: 32_503_680_000 })}.`,
    ],
    ['without an end', () => new SignJWT({ sub: 'x' }).setProtectedHeader({ alg: 'HS256' }).sign(secretKey)],
    ['whose subject is a wildcard', () => signJwt({ sub: '*' })],
    ['whose subject is a number', () => signJwt({ sub: 7 })],
    ['without a letter or digit in its subject', () => signJwt({ sub: '--' })],
    ['that is none', () => 'hello'],
  ]) {
    test(`refuses a token ${what}`, async (t) => {
      const endpoint = await startJwt(t)
      assert.deepEqual(await endpoint.testInvokeAuthorizer({ token: await token() }), {
        isAuthenticated: false,
      })
    })
  }

  test('refuses a client without a token', async (t) => {
    const endpoint = await startJwt(t)
    assert.deepEqual(await endpoint.testInvokeAuthorizer({ mqttContext: {} }), { isAuthenticated: false })
  })
}

/** For the threads that are started meanwhile; the examples read their environment when they are loaded. */
function setEnvironment(values) {
  const previous = Object.fromEntries(Object.keys(values).map((name) => [name, process.env[name]]))
  Object.assign(process.env, values)
  return () => {
    for (const [name, value] of Object.entries(previous)) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  }
}

describe('jwt-authorizer.mjs', () => {
  let restore
  before(() => (restore = setEnvironment({ JWT_SECRET: SECRET })))
  after(() => restore())
  describeJwt(() => ({ module: example('jwt-authorizer.mjs') }))
})

describe('jwt-authorizer.mjs with a key set', () => {
  test('connects a device by an RS256 token, and by no other of the set', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'examples-'))
    t.after(() => rm(directory, { recursive: true, force: true }))
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const JWT_JWKS_FILE = join(directory, 'jwks.json')
    const key = { ...publicKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig' }
    await writeFile(JWT_JWKS_FILE, JSON.stringify({ keys: [key] }))
    t.after(setEnvironment({ JWT_JWKS_FILE, JWT_AUDIENCE: 'iot', JWT_ISSUER: 'https://issuer.example' }))
    const endpoint = await start(t, {
      authorizers: { Jwt: { module: example('jwt-authorizer.mjs'), signingDisabled: true } },
      defaultAuthorizer: 'Jwt',
    })
    const claims = { aud: 'iot', iss: 'https://issuer.example' }
    const password = await signJwt(claims, { alg: 'RS256', key: privateKey })
    await expectDevice(t, endpoint, 'thermostat-9', { username: 'any', password })
    const forOthers = await signJwt({ ...claims, aud: 'web' }, { alg: 'RS256', key: privateKey })
    await expectRefusal(t, endpoint, 'not-authenticated', { username: 'any', password: forOthers })
    await expectRefusal(t, endpoint, 'not-authenticated', {
      username: 'any',
      password: await signJwt(claims),
    })
  })
})

const python = findPython()
const skip = python === undefined && 'python3 is not installed; REQUIRE_PYTHON=1 makes that a failure'

describe('python/jwt_authorizer.py behind python/invoke_server.py', { skip }, () => {
  let server
  before(async () => (server = await startInvokeServer(example('python/jwt_authorizer.py'))))
  after(() => server?.close())
  describeJwt(() => ({ lambda: { endpoint: server.address, functionName: 'JwtAuthorizer' } }))
})

test('python/invoke_server.py tells what a handler raises', { skip }, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'examples-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const module = join(directory, 'raises.py')
  await writeFile(module, 'def handler(event, context):\n    return event["nothing"]\n')
  const server = await startInvokeServer(module, 'ignore')
  t.after(() => server.close())
  const lambda = { endpoint: server.address, functionName: 'Raises' }
  const endpoint = await start(t, { authorizers: { Open: { lambda, signingDisabled: true } } })
  await assert.rejects(endpoint.testInvokeAuthorizer({ mqttContext: {} }), { rule: 'handler-error' })
  const { message, stack } = lastOfType(endpoint, 'authorizer-answered')
  assert.equal(message, "the handler failed: 'nothing'")
  assert.match(stack, /^KeyError: 'nothing'\n[^]*raises\.py", line 2, in handler/)
})

async function startInvokeServer(module, stderr = 'inherit') {
  const server = spawn(python, [example('python/invoke_server.py'), module, '--port', '0'], {
    env: { ...process.env, JWT_SECRET: SECRET, PYTHONDONTWRITEBYTECODE: '1' },
    stdio: ['ignore', 'pipe', stderr],
  })
  const exited = once(server, 'exit')
  const [line] = await Promise.race([once(createInterface(server.stdout), 'line'), exited.then(() => [''])])
  const address = /http:\S+$/.exec(line)?.[0]
  assert.ok(address, 'invoke_server.py must say where it listens')
  const close = () => {
    server.kill()
    return exited
  }
  return { address, close }
}

/** The name of Python 3, where there is one. */
function findPython() {
  try {
    execFileSync('python3', ['--version'], { stdio: 'ignore' })
    return 'python3'
  } catch {
    if (process.env.REQUIRE_PYTHON === '1') throw new Error('REQUIRE_PYTHON=1, and there is no python3')
    return undefined
  }
}
