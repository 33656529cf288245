import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import { startLocalEndpoint } from 'custom-authorizer-local'
import { passwordAuthorizer } from './support/authorizers.mjs'
import { cli } from './support/cli.mjs'
import { startScriptedProxy } from './support/scripted-http.mjs'

const FOUR_LINES = 'Connecting...\nConnection completed.\nDisconnecting...\nDisconnect completed.\n'
const login = { username: 'user', password: 'OpenSesame5520' }

let local
let proxy
let args
before(async () => {
  local = await startLocalEndpoint({
    authorizers: { Password: passwordAuthorizer('user', 'sesame') },
    defaultAuthorizer: 'Password',
  })
  proxy = await startScriptedProxy()
  args = ['--endpoint', local.endpoint, '--port', String(local.port), '--ca_file', local.caFile]
  args.push('--custom_auth_username', 'user', '--custom_auth_password', 'sesame')
})
after(() => Promise.all([local?.close(), proxy?.close()]))
beforeEach(() => (proxy.requests.length = 0))

const flags = (port = proxy.port) => ['--proxy_host', 'localhost', '--proxy_port', String(port)]
const asked = () => proxy.requests.map(({ line }) => line)
const line = () => `CONNECT ${local.endpoint}:${local.port} HTTP/1.1`

test('--proxy_host and --proxy_port: the four lines, through that proxy', async () => {
  const { code, stdout, stderr } = await cli([...args, ...flags()])
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: FOUR_LINES, stderr: '' })
  assert.deepEqual(asked(), [line()])
})

test('HTTPS_PROXY is honoured without a flag', async () => {
  const { code, stdout } = await cli(args, { env: { HTTPS_PROXY: proxy.urlFor() } })
  assert.deepEqual({ code, stdout }, { code: 0, stdout: FOUR_LINES })
  assert.deepEqual(asked(), [line()])
})

test('NO_PROXY of the endpoint: the four lines, without the proxy', async () => {
  const { code, stdout } = await cli(args, {
    env: { HTTPS_PROXY: proxy.urlFor(), NO_PROXY: local.endpoint },
  })
  assert.deepEqual({ code, stdout }, { code: 0, stdout: FOUR_LINES })
  assert.deepEqual(asked(), [])
})

test('--proxy_host goes before the environment, NO_PROXY included', async () => {
  const { code, stdout } = await cli([...args, ...flags()], {
    // Port 1 is nobody's.
    env: { HTTPS_PROXY: 'http://localhost:1', NO_PROXY: '*' },
  })
  assert.deepEqual({ code, stdout }, { code: 0, stdout: FOUR_LINES })
  assert.deepEqual(asked(), [line()])
})

test('a proxy that demands another login is a line of ERR_PROXY_AUTH and a hint', async (t) => {
  const strict = await startScriptedProxy({ login })
  t.after(() => strict.close())
  const { code, stdout, stderr } = await cli([...args, ...flags(strict.port)])
  assert.deepEqual({ code, stdout }, { code: 1, stdout: 'Connecting...\n' })
  assert.match(stderr, /^ERR_PROXY_AUTH \(proxy\): \S.*\n\S/)
})

test('a proxy that refuses, with --verbosity trace: its password is in no line', async (t) => {
  const refusing = await startScriptedProxy({ answer: () => 'HTTP/1.1 403 Forbidden\r\n\r\n' })
  t.after(() => refusing.close())
  const { code, stderr } = await cli([...args, '-v', 'trace'], {
    env: { HTTPS_PROXY: refusing.urlFor(login) },
  })
  assert.equal(code, 1)
  assert.match(stderr, /^ERR_PROXY \(proxy\): /m)
  const encoded = Buffer.from(`${login.username}:${login.password}`).toString('base64')
  for (const secret of [login.password, encoded]) assert.ok(!stderr.includes(secret), stderr)
})

test('HTTPS_PROXY that cannot be read ends with 2, names the variable and quotes nothing', async () => {
  const { code, stdout, stderr } = await cli(args, {
    env: { HTTPS_PROXY: `http://user:${login.password}%ZZ@x` },
  })
  assert.equal(code, 2)
  assert.doesNotMatch(stdout, /completed/)
  assert.match(stderr, /^ERR_INVALID_OPTION \(options\): .*HTTPS_PROXY/)
  assert.ok(!stderr.includes(login.password), stderr)
})

test('an https proxy is judged by the authorities of --ca_file', async (t) => {
  const tls = await startScriptedProxy({ tls: true })
  t.after(() => tls.close())
  const directory = await mkdtemp(join(tmpdir(), 'custom-authorizer-ca-'))
  t.after(() => rm(directory, { recursive: true }))
  const file = join(directory, 'both.pem')
  await writeFile(file, `${local.ca}${tls.ca}`)
  const withBoth = args.map((argument) => (argument === local.caFile ? file : argument))
  const { code, stdout, stderr } = await cli(withBoth, {
    env: { HTTPS_PROXY: tls.urlFor() },
  })
  assert.deepEqual({ code, stdout }, { code: 0, stdout: FOUR_LINES }, stderr)
})
