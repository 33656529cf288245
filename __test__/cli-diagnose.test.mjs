import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startLocalEndpoint } from 'custom-authorizer-local'
import { passwordAuthorizer, signingAuthorizer } from './support/authorizers.mjs'
import { cli, startCli } from './support/cli.mjs'
import { startPeer } from './support/scripted-peer.mjs'

async function start(t, authorizer = passwordAuthorizer('me', 'sesame')) {
  const local = await startLocalEndpoint({
    authorizers: { Fleet: authorizer },
    limits: { connectsPerSecond: Infinity },
  })
  t.after(() => local.close())
  const args = [
    'diagnose',
    '--endpoint',
    'localhost',
    '--port',
    String(local.port),
    '--ca_file',
    local.caFile,
    '--custom_auth_authorizer_name',
    'Fleet',
    '--custom_auth_username',
    'me',
  ]
  return { local, args }
}

const PASSWORD = ['--custom_auth_password', 'env:PW']
const env = { PW: 'sesame' }

test('diagnose shows each step and its verdict, and exits with 0', async (t) => {
  const { args } = await start(t)
  const { code, stdout, stderr } = await cli([...args, ...PASSWORD], { env })
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
  for (const step of ['login', 'dns', 'tcp', 'tls', 'alpn', 'connack']) {
    assert.match(stdout, new RegExp(`^ok +${step} `, 'm'))
  }
  assert.match(stdout, /^Verdict: localhost accepted the connection\.$/m)
})

test('a refused login is a verdict with what to look at next, and exit code 1', async (t) => {
  const { args } = await start(t)
  const { code, stdout } = await cli([...args, ...PASSWORD], { env: { PW: 'wrong' } })
  assert.equal(code, 1)
  assert.match(stdout, /^FAILED +connack /m)
  assert.match(stdout, /^Verdict: localhost:\d+ closed the connection after CONNECT, without an answer\.$/m)
  assert.match(stdout, /^ +1\. the policy does not allow iot:Connect for the client id "test-\d+", which/m)
  assert.match(stdout, /^ +2\. the authorizer answered isAuthenticated: false/m)
})

test('--json is one document, errors included', async (t) => {
  const { args } = await start(t)
  const { code, stdout } = await cli([...args, ...PASSWORD, '--json'], { env: { PW: 'wrong' } })
  assert.equal(code, 1)
  const diagnosis = JSON.parse(stdout)
  assert.equal(diagnosis.ok, false)
  assert.equal(diagnosis.error.code, 'ERR_CLOSED_BEFORE_CONNACK')
  assert.equal(diagnosis.steps.at(-1).error.message, diagnosis.error.message)
})

test('--client_id stops before CONNECT, and --take_over goes on', async (t) => {
  const { local, args } = await start(t)
  const id = ['--client_id', 'thermostat-7']
  const stopped = await cli([...args, ...PASSWORD, ...id], { env })
  assert.equal(stopped.code, 0)
  assert.match(stopped.stdout, /^skipped +connack .*--take_over/m)
  assert.equal(local.invocations.length, 0)
  const { code, stdout } = await cli([...args, ...PASSWORD, ...id, '--take_over', '--mqtt_version', '5'], {
    env,
  })
  assert.equal(code, 0)
  assert.match(stdout, /^ok +connack +CONNECT as "thermostat-7"/m)
})

test('Ctrl-C ends it, and what it has begun at the server', async (t) => {
  const peer = await startPeer()
  t.after(() => peer.close())
  const { endpoint, port, tls } = peer.where
  const folder = await mkdtemp(join(tmpdir(), 'diagnose-'))
  t.after(() => rm(folder, { recursive: true }))
  const caFile = join(folder, 'ca.pem')
  await writeFile(caFile, tls.ca)
  const to = ['--endpoint', endpoint, '--port', String(port), '--ca_file', caFile]
  const probe = ['--client_id', 'new', '--take_over', '--mqtt_version', '5', '--topic', 'a/b']
  const running = startCli(['diagnose', ...to, ...probe])
  const link = await peer.accept()
  await link.expect('connect')
  link.send({ cmd: 'connack', reasonCode: 0, sessionPresent: false })
  await link.expect('subscribe')
  running.child.kill('SIGINT')
  await link.expect('unsubscribe')
  assert.equal((await link.expect('disconnect')).properties.sessionExpiryInterval, 0)
  assert.equal((await running.exited).code, 130)
})

test('--topic takes a filter with wildcards, and --probe_publish a topic', async (t) => {
  const { args } = await start(t)
  const subscribed = await cli([...args, ...PASSWORD, '--topic', 'a/#'], { env })
  assert.match(subscribed.stdout, /^ok +subscribe +SUBSCRIBE to "a\/#"/m)
  const published = await cli([...args, ...PASSWORD, '--topic', 'a/b', '--probe_publish'], { env })
  assert.match(published.stdout, /^ok +publish +PUBLISH to "a\/b"/m)
})

test('--public_key tells whether the signature fits', async (t) => {
  const authorizer = signingAuthorizer('tok')
  const { args } = await start(t, authorizer)
  const folder = await mkdtemp(join(tmpdir(), 'diagnose-'))
  t.after(() => rm(folder, { recursive: true }))
  const path = join(folder, 'public.pem')
  await writeFile(path, signingAuthorizer('tok').tokenSigningPublicKeys.first)
  const { token, signature } = authorizer.signedToken()
  const { code, stdout } = await cli(
    [
      ...args,
      '--custom_auth_token_key_name',
      'tok',
      '--custom_auth_token_value',
      'env:TOKEN',
      '--custom_auth_authorizer_signature',
      'env:SIGNATURE',
      '--public_key',
      path,
    ],
    { env: { TOKEN: token, SIGNATURE: signature } },
  )
  assert.equal(code, 1)
  assert.match(stdout, /^FAILED +signature /m)
  assert.match(
    stdout,
    /^Verdict: localhost accepted the connection although the signature is not one of this token/m,
  )
})

test('options are called by their flags', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  await new Promise((done) => server.close(done))
  const { code, stdout } = await cli(['diagnose', '--endpoint', 'localhost', '--port', String(port)])
  assert.equal(code, 1)
  assert.match(stdout.replaceAll(/\s+/g, ' '), /A network with a proxy needs --proxy_host\./)
})

test('--json prints wrong arguments as a document too, and exits with 2', async () => {
  for (const [args, code] of [
    [['--endpoint', 'https://e'], 'ERR_INVALID_OPTION'],
    [['--endpoint', 'e', '--custom_auth_token_value', 't'], 'ERR_INCOMPLETE_TOKEN'],
    [['--endpoint', 'e', '--nonsense'], 'ERR_INVALID_OPTION'],
  ]) {
    for (const json of ['--json', '--json=true']) {
      const run = await cli(['diagnose', json, ...args])
      assert.deepEqual([run.code, run.stderr], [2, ''])
      const { ok, verdict, error } = JSON.parse(run.stdout)
      assert.deepEqual([ok, error.code, error.message], [false, code, verdict])
    }
  }
})

test('wrong arguments exit with 2 and load no addon', async () => {
  for (const [args, message] of [
    [['diagnose'], /^ERR_INVALID_OPTION \(options\): --endpoint is required\./],
    [['diagnose', '--endpoint', 'e', '--nonsense'], /Unknown flag --nonsense\./],
    [['--endpoint', 'e', '--take_over'], /--take_over belongs to diagnose\./],
    [['diagnose', '--endpoint', 'e', '--take_over'], /--take_over needs --client_id\./],
    [
      ['diagnose', '--endpoint', 'e', '--client_id', 'c', '--take_over'],
      /--take_over needs --mqtt_version\./,
    ],
    [['diagnose', '--endpoint', 'e', '--probe_publish'], /--probe_publish needs --topic\./],
    [['diagnos', '--endpoint', 'e'], /not a flag\.\nThe word diagnose/],
    [['--endpoint', 'e', 'diagnose'], /not a flag\.\nThe word diagnose is written so, and comes first\./],
    [['diagnose', '--endpoint', 'e', '--public_key', '/nowhere'], /--public_key: "\/nowhere" cannot be read/],
  ]) {
    const { code, stdout, stderr } = await cli(args, { withoutClient: true })
    assert.deepEqual({ code, stdout }, { code: 2, stdout: '' })
    assert.match(stderr, message)
  }
})
