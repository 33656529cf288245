import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { after, before, beforeEach, test } from 'node:test'
import { startLocalEndpoint } from 'custom-authorizer-local'
import { passwordAuthorizer, signingAuthorizer } from './support/authorizers.mjs'
import { cli, startCli } from './support/cli.mjs'

const FOUR_LINES = 'Connecting...\nConnection completed.\nDisconnecting...\nDisconnect completed.\n'
const RECORD = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (error|warn|info|debug|trace) \S/

const password = passwordAuthorizer('user', 'sesame')
const signing = signingAuthorizer('key')
const { token, signature } = signing.signedToken()
let local
let where

before(async () => {
  local = await startLocalEndpoint({
    authorizers: { Password: password, Signing: signing },
    defaultAuthorizer: 'Password',
  })
  where = ['--endpoint', local.endpoint, '--port', String(local.port), '--ca_file', local.caFile]
})
after(() => local?.close())
beforeEach(() => {
  password.seen.length = 0
  signing.seen.length = 0
})

const PASSWORD = ['--custom_auth_authorizer_name', 'Password', '--custom_auth_username', 'user']
const SIGNING = ['--custom_auth_authorizer_name', 'Signing', '--custom_auth_token_key_name', 'key']

test('an accepted client prints the four lines and nothing else, and ends with 0', async () => {
  const result = await cli([...where, ...PASSWORD, '--custom_auth_password', 'sesame'])
  assert.deepEqual(result, { code: 0, signal: null, stdout: FOUR_LINES, stderr: '' })
  const [{ protocolData }] = password.seen
  assert.match(protocolData.mqtt.clientId, /^test-\d+$/)
  assert.equal(protocolData.mqtt.username, 'user?x-amz-customauthorizer-name=Password')
})

test('without the name of an authorizer the default one decides', async () => {
  const args = ['--custom_auth_username', 'user', '--custom_auth_password', 'sesame', '--client_id', 'me']
  const { code, stdout } = await cli([...where, ...args])
  assert.deepEqual({ code, stdout }, { code: 0, stdout: FOUR_LINES })
  const [{ protocolData }] = password.seen
  assert.equal(protocolData.mqtt.username, 'user')
  assert.equal(protocolData.mqtt.clientId, 'me')
})

test('--mqtt_version 5 keeps the four lines', async () => {
  const { code, stdout } = await cli([...where, ...PASSWORD, '--custom_auth_password', 'sesame', '-V', '5'])
  assert.deepEqual({ code, stdout }, { code: 0, stdout: FOUR_LINES })
})

for (const [form, encoded] of [
  ['in base64', signature],
  ['percent-encoded', encodeURIComponent(signature)],
  ['in base64url', signature.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')],
]) {
  test(`a signature is taken ${form}`, async () => {
    const args = ['--custom_auth_token_value', token, `--custom_auth_authorizer_signature=${encoded}`]
    const { code, stdout, stderr } = await cli([...where, ...SIGNING, ...args])
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: FOUR_LINES, stderr: '' })
    assert.equal(signing.seen[0].token, token)
    assert.equal(signing.seen[0].signatureVerified, true)
  })
}

test('secrets come from the environment and from standard input', async () => {
  const byEnvironment = await cli([...where, ...PASSWORD, '--custom_auth_password', 'env:SECRET'], {
    env: { SECRET: 'sesame' },
  })
  assert.equal(byEnvironment.stdout, FOUR_LINES)
  const byInput = await cli([...where, ...PASSWORD, '--custom_auth_password', '-'], { input: 'sesame\n' })
  assert.equal(byInput.stdout, FOUR_LINES)
  const both = ['--custom_auth_token_value', 'env:TOKEN', '--custom_auth_authorizer_signature', '-']
  const signed = await cli([...where, ...SIGNING, ...both], {
    env: { TOKEN: token },
    input: `${signature}\n`,
  })
  assert.equal(signed.stdout, FOUR_LINES)
})

test('a refused login is a line with code, stage and message, and a hint', async () => {
  const args = [...where, ...PASSWORD, '--custom_auth_password', 'mellon']
  const { code, stdout, stderr } = await cli(args)
  assert.deepEqual({ code, stdout }, { code: 1, stdout: 'Connecting...\n' })
  assert.match(stderr, /^ERR_[A-Z_]+ \(connack\): \S.*\n\S/)
  assert.doesNotMatch(stderr, /mellon|\n {4}at /)
})

test('--verbosity logs to stderr, a line a record, without secrets; a failure then has its stack', async () => {
  const accepted = await cli([...where, ...PASSWORD, '--custom_auth_password', 'sesame', '-v', 'trace'])
  assert.equal(accepted.stdout, FOUR_LINES)
  const records = accepted.stderr.trimEnd().split('\n')
  for (const record of records) assert.match(record, RECORD)

  const refused = await cli([...where, ...PASSWORD, '--custom_auth_password', 'mellon', '-v', 'debug'])
  assert.match(refused.stderr, /\nERR_[A-Z_]+ \(connack\): /)
  assert.match(refused.stderr, /\n {4}at /)
  const encoded = Buffer.from('mellon').toString('base64')
  assert.ok(!refused.stderr.includes('mellon') && !refused.stderr.includes(encoded))
  assert.doesNotMatch(accepted.stderr, /sesame/)
})

test('an incomplete token is refused in the words of the flags, before any network traffic', async () => {
  const { code, stderr } = await cli([...where, ...SIGNING, '--custom_auth_token_value', 'mellon'])
  assert.equal(code, 2)
  assert.match(stderr, /^ERR_INCOMPLETE_TOKEN \(options\): .*--custom_auth_authorizer_signature/)
  assert.doesNotMatch(stderr, /mellon/)
  assert.equal(signing.seen.length, 0)
})

test('an endpoint given as a URL is refused', async () => {
  const { code, stderr } = await cli(['--endpoint', `https://${local.endpoint}`])
  assert.equal(code, 2)
  assert.match(stderr, /^ERR_INVALID_OPTION \(options\): --endpoint must be/)
})

test('a file of certificate authorities that cannot be read is named by its flag', async () => {
  const { code, stderr } = await cli(['--endpoint', local.endpoint, '--ca_file', '/no/such/file.pem'])
  assert.equal(code, 2)
  assert.match(stderr, /^ERR_INVALID_OPTION \(options\): .*--ca_file/)
})

test('a server whose certificate is not trusted is refused', async () => {
  const { code, stdout, stderr } = await cli([
    '--endpoint',
    local.endpoint,
    '--port',
    String(local.port),
    ...PASSWORD,
  ])
  assert.deepEqual({ code, stdout }, { code: 1, stdout: 'Connecting...\n' })
  assert.match(stderr, /^ERR_TLS_CERTIFICATE \(tls\): \S.*\n\S/)
})

test('a port where nobody listens is a failure of TCP', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  const { code, stderr } = await cli(['--endpoint', '127.0.0.1', '--port', String(port)])
  assert.equal(code, 1)
  assert.match(stderr, new RegExp(`^ERR_TCP \\(tcp\\): .*${port}.*\\n\\S`))
})

for (const [signal, expected] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
]) {
  test(`${signal} while connecting ends with ${expected}`, async (t) => {
    const silent = createServer().listen(0, '127.0.0.1')
    t.after(() => silent.close())
    await once(silent, 'listening')
    const { child, exited } = startCli(['-e', '127.0.0.1', '--port', String(silent.address().port)])
    const [socket] = await once(silent, 'connection')
    socket.on('error', () => {})
    child.kill(signal)
    const { code, stdout, stderr } = await exited
    assert.deepEqual({ code, stdout }, { code: expected, stdout: 'Connecting...\n' })
    assert.equal(stderr, `Interrupted by ${signal}.\n`)
    socket.destroy()
  })
}
