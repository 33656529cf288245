import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { connectTo, folder, moduleThatAnswers, paste, startCli } from './cli-support.mjs'
import { createTokenKey, grant } from './support.mjs'

const demanded = process.env.CI === 'true' || process.env.REQUIRE_MOSQUITTO === '1'
const missing = spawnSync('mosquitto_pub', ['--help']).error !== undefined
// Where mosquitto is demanded, a test without it fails.
const skip = missing && !demanded ? 'needs mosquitto_pub' : false

/** An endpoint whose one authorizer allows everything; `signing` are flags that follow it. */
async function startOpen(t, { signing = () => [], args = [], files = {} } = {}) {
  const { file } = await folder(t, { 'a.mjs': moduleThatAnswers(grant()), ...files })
  const cli = await startCli(t, ['--authorizer', `MyAuthorizer=${file('a.mjs')}`, ...signing(file), ...args])
  await cli.until(/Ctrl-C ends it.*\n/)
  return { cli, file }
}

/** With a token and its signature, as a device would have them. */
async function startSigned(t) {
  const key = createTokenKey()
  const token = 'thermostat-7.2000'
  const signature = key.sign(token)
  const { cli } = await startOpen(t, {
    files: { 'key.pem': key.pem },
    signing: (file) => ['--token-key-name', 'tok', '--public-key', file('key.pem')],
  })
  const env = {
    DEVICE_TOKEN: token,
    DEVICE_SIGNATURE: signature,
    DEVICE_SIGNATURE_ENCODED: encodeURIComponent(signature),
  }
  return { cli, env }
}

const printed = async (cli, command) => (await cli.until(new RegExp(`^ *(${command}.*)$`, 'm')))[1]

describe('what is printed at the start, pasted into a shell,', () => {
  test('connects with the client of a clone', async (t) => {
    const { cli } = await startOpen(t)
    const { code, stdout, stderr } = await paste(await printed(cli, 'node dist/index.js'), {
      DEVICE_PASSWORD: 'sesame',
    })
    assert.equal(code, 0, stderr)
    assert.match(stdout, /Connection completed\./)
  })

  test('connects with a signed token', async (t) => {
    const { cli, env } = await startSigned(t)
    const { code, stdout, stderr } = await paste(await printed(cli, 'node dist/index.js'), env)
    assert.equal(code, 0, stderr)
    assert.match(stdout, /Connection completed\./)
  })

  test('connects with a token that nobody has signed', async (t) => {
    const { cli } = await startOpen(t, { signing: () => ['--token-key-name', 'tok', '--signing-disabled'] })
    const { code, stderr } = await paste(await printed(cli, 'node dist/index.js'), { DEVICE_TOKEN: 'tok-1' })
    assert.equal(code, 0, stderr)
    await cli.until(/"token": "tok-1"/)
  })

  test('publishes with mosquitto_pub', { skip }, async (t) => {
    const { cli } = await startOpen(t)
    const { code, stderr } = await paste(await printed(cli, 'mosquitto_pub'), { DEVICE_PASSWORD: 'sesame' })
    assert.equal(code, 0, stderr)
    await cli.until(/publish devices\/my-device\/temperature \(QoS 1, 4 bytes\): allowed/)
  })

  test('publishes with mosquitto_pub and a signed token', { skip }, async (t) => {
    const { cli, env } = await startSigned(t)
    const { code, stderr } = await paste(await printed(cli, 'mosquitto_pub'), env)
    assert.equal(code, 0, stderr)
    await cli.until(/publish devices\/my-device\/temperature \(QoS 1, 4 bytes\): allowed/)
  })
})

for (const [what, signing, said] of [
  [
    'neither a key nor --signing-disabled',
    [],
    'Unsigned: neither --public-key nor --signing-disabled was given',
  ],
  ['--signing-disabled', ['--signing-disabled'], 'Unsigned: signing is disabled.'],
]) {
  test(`an authorizer with ${what} is said to be unsigned`, async (t) => {
    const { cli } = await startOpen(t, { signing: () => signing })
    assert.ok(cli.out.stdout.includes(said), cli.out.stdout)
  })
}

test('an authorizer with two keys is said to be signed', async (t) => {
  const { cli } = await startOpen(t, {
    files: { '1.pem': createTokenKey().pem, '2.pem': createTokenKey().pem },
    signing: (file) => [
      '--token-key-name',
      'tok',
      '--public-key',
      file('1.pem'),
      '--public-key',
      file('2.pem'),
    ],
  })
  assert.match(cli.out.stdout, /Signed: token in "tok", checked with 2 keys \(key-1, key-2\)\./)
})

test('flags about signing belong to the authorizer before them', async (t) => {
  const { file } = await folder(t, {
    'a.mjs': moduleThatAnswers(grant()),
    'key.pem': createTokenKey().pem,
  })
  const module = file('a.mjs')
  const cli = await startCli(t, [
    '--authorizer',
    `First=${module}`,
    '--token-key-name',
    'tok',
    '--public-key',
    file('key.pem'),
    '--authorizer',
    'Second=lambda:http://127.0.0.1:3001/Fn',
    '--signing-disabled',
  ])
  await cli.until(/Ctrl-C/)
  assert.match(cli.out.stdout, /Authorizer First: module .*\n +Signed: token in "tok"/)
  assert.match(
    cli.out.stdout,
    /Authorizer Second: Lambda function Fn at http:\/\/127\.0\.0\.1:3001\n +Unsigned/,
  )
})

test('the profile is friendly unless it is chosen', async (t) => {
  const { cli } = await startOpen(t)
  assert.match(cli.out.stdout, /^Profile friendly \(default here\)/m)
})

test('--profile aws is said', async (t) => {
  const { cli } = await startOpen(t, { args: ['--profile', 'aws'] })
  assert.match(cli.out.stdout, /^Profile aws/m)
})

test('--ca-file gets the certificate of the authority', async (t) => {
  const { file } = await folder(t, {})
  const { cli } = await startOpen(t, { args: ['--ca-file', file('ca.pem')] })
  assert.ok(cli.out.stdout.includes(`CA certificate to trust: ${file('ca.pem')}\n`))
  assert.match(await readFile(file('ca.pem'), 'utf8'), /-----BEGIN CERTIFICATE-----/)
})

const LAMBDA = { endpoint: 'http://127.0.0.1:3001', functionName: 'Fn' }
const allowAll = JSON.stringify(grant())
for (const [kind, name, text] of [
  [
    'JSON with a module',
    'c.json',
    (module) =>
      JSON.stringify({ authorizers: { A: { module, signingDisabled: true } }, defaultAuthorizer: 'A' }),
  ],
  [
    'a module with an object',
    'c.mjs',
    () =>
      `export default { authorizers: { A: { handler: () => (${allowAll}), signingDisabled: true } }, defaultAuthorizer: 'A' }`,
  ],
  [
    'a module with a function',
    'c.mjs',
    () =>
      `export default async () => ({ authorizers: { A: { handler: () => (${allowAll}), signingDisabled: true } }, defaultAuthorizer: 'A' })`,
  ],
  [
    'CommonJS',
    'c.cjs',
    () =>
      `module.exports = { authorizers: { A: { handler: () => (${allowAll}), signingDisabled: true } }, defaultAuthorizer: 'A' }`,
  ],
]) {
  test(`a config file that is ${kind} is enough to connect`, async (t) => {
    const { file } = await folder(t, { 'a.mjs': moduleThatAnswers(grant()) })
    const { file: config } = await folder(t, { [name]: text(file('a.mjs')) })
    const cli = await startCli(t, ['--config', config(name)])
    const client = await connectTo(t, cli)
    assert.equal(client.connected, true)
  })
}

test('flags win over the config file, and add to its authorizers', async (t) => {
  const { file } = await folder(t, {
    'a.mjs': moduleThatAnswers(grant()),
    'c.json': JSON.stringify({
      authorizers: {
        A: { module: 'none.mjs', signingDisabled: true },
        B: { lambda: LAMBDA, signingDisabled: true },
      },
      profile: 'aws',
    }),
  })
  const cli = await startCli(t, [
    '--config',
    file('c.json'),
    '--authorizer',
    `A=${file('a.mjs')}`,
    '--profile',
    'friendly',
  ])
  await cli.until(/Ctrl-C/)
  assert.match(cli.out.stdout, /^Profile friendly/m)
  assert.match(cli.out.stdout, /Authorizer A: module .*a\.mjs/)
  assert.match(cli.out.stdout, /Authorizer B: Lambda function Fn/)
})

for (const signal of ['SIGINT', 'SIGTERM']) {
  test(`${signal} ends it cleanly, connections included`, async (t) => {
    const { cli } = await startOpen(t, { args: ['--default-authorizer', 'MyAuthorizer'] })
    await connectTo(t, cli)
    cli.child.kill(signal)
    const [code] = await cli.closed
    assert.equal(code, 0, cli.out.stderr)
    assert.match(cli.out.stdout, /disconnected: SERVER_INITIATED_DISCONNECT/)
  })
}

for (const [signal, exitCode] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
]) {
  test(`a second ${signal} while it is closing ends it at once`, async (t) => {
    // Connections are closed first, and the log hears of it.
    const { file } = await folder(t, {
      'c.mjs': `const log = ({ type }) => {
        if (type === 'disconnected') process.kill(process.pid, '${signal}')
      }
      export default {
        authorizers: { A: { handler: () => (${allowAll}), signingDisabled: true } },
        defaultAuthorizer: 'A',
        log,
      }`,
    })
    const cli = await startCli(t, ['--config', file('c.mjs')])
    await connectTo(t, cli)
    cli.child.kill(signal)
    const [code] = await cli.closed
    assert.equal(code, exitCode, cli.out.stderr)
  })
}

test('a reader that has gone ends it quietly', async (t) => {
  const { cli } = await startOpen(t, { args: ['--default-authorizer', 'MyAuthorizer'] })
  cli.child.stdout.destroy()
  // Something has to be written for it to notice.
  await connectTo(t, cli).catch(() => {})
  const [code] = await cli.closed
  assert.deepEqual({ code, stderr: cli.out.stderr }, { code: 0, stderr: '' })
})
