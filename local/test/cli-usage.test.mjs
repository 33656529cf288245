import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { folder, moduleThatAnswers, runCli } from './cli-support.mjs'
import { createTokenKey, grant } from './support.mjs'

const A = ['--authorizer', 'A=./a.mjs']

for (const [what, args, said, next] of [
  ['nothing at all', [], /No authorizer is given/, /Usage: .*--authorizer/],
  ['a mistyped flag', ['--autorizer', 'A=./a.mjs'], /--autorizer/, /Did you mean --authorizer\?/],
  ['a flag like no other', ['--quantum'], /--quantum/, /--help/],
  ['an argument that is no flag', ['./a.mjs'], /a\.mjs/, /--help/],
  ['a flag without its value', [...A, '--port'], /--port/, /--help/],
  ['a flag whose value is a flag', [...A, '--host', '--json'], /--host/, /--help/],
  ['a switch with a value', [...A, '--json=yes'], /--json/, /--help/],
  ['an authorizer without a module', ['--authorizer', 'A'], /NAME=MODULE/, /For example/],
  ['an authorizer given twice', [...A, ...A], /A is given twice/, /--help/],
  [
    'a Lambda without a function',
    ['--authorizer', 'A=lambda:http://127.0.0.1:3001'],
    /function's name/,
    /MyFunction/,
  ],
  ['a name that none may have', ['--authorizer', 'A b=./a.mjs'], /A b.*a name is/, /--help/],
  ['signing before any authorizer', ['--signing-disabled'], /before any --authorizer/, /belongs to/],
  ['a public key that is not there', [...A, '--public-key', '/none.pem'], /none\.pem/, /openssl/],
  ['a port that is none', [...A, '--port', '70000'], /--port .*70000/, /--help/],
  ['an account id that is none', [...A, '--account-id', '12'], /12 digits/, /--help/],
  ['a profile that does not exist', [...A, '--profile', 'nice'], /aws or friendly/, /--help/],
  ['a default that does not exist', [...A, '--default-authorizer', 'B'], /B: there is no/, /Known are: A/],
  ['a config file that is not there', ['--config', '/none.json'], /none\.json/, /path right/],
]) {
  test(`${what}: exit code 2, a line that names it, and the next step`, async () => {
    const { code, stdout, stderr } = await runCli(args)
    const [first, second] = stderr.split('\n')
    assert.equal(code, 2, stderr)
    assert.match(first, said)
    assert.match(second, next)
    assert.equal(stdout, '')
  })
}

for (const [what, pem, args, said] of [
  ['without a token key name', createTokenKey().pem, [], /no --token-key-name/],
  [
    'beside --signing-disabled',
    createTokenKey().pem,
    ['--token-key-name', 'tok', '--signing-disabled'],
    /both --public-key and --signing-disabled/,
  ],
  [
    'that is a private one',
    '-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n',
    [],
    /is a private key/,
  ],
  ['that is no PEM', 'ssh-rsa AAAA', [], /is no PEM of a public key/],
  [
    'that is broken',
    '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n',
    [],
    /cannot be read as a key/,
  ],
  ['that is short', createTokenKey(1024).pem, [], /at least 2048 bits/],
]) {
  test(`a public key ${what}: exit code 2, and what is wrong with it`, async (t) => {
    const { file } = await folder(t, { 'key.pem': pem })
    const { code, stderr } = await runCli([...A, '--public-key', file('key.pem'), ...args])
    assert.equal(code, 2, stderr)
    assert.match(stderr, said)
  })
}

for (const [what, name, text, said] of [
  ['that is no JSON', 'c.json', '{', /c\.json is no valid JSON/],
  ['that holds no object', 'c.json', '[]', /c\.json gives no object/],
  [
    'that throws',
    'c.mjs',
    'throw new Error("boom")',
    /c\.mjs cannot be loaded: boom\.\nIt failed at .*c\.mjs/,
  ],
  ['without a default export', 'c.mjs', 'export const options = {}', /c\.mjs gives no object/],
  [
    'with an option that does not exist',
    'c.json',
    '{"authorizer":{}}',
    /c\.json: there is no option "authorizer"/,
  ],
  [
    'with authorizers that are none',
    'c.json',
    '{"authorizers":[]}',
    /c\.json: authorizers must be an object/,
  ],
  ['with a port that is text', 'c.json', '{"port":"8443"}', /c\.json: port must be .*; got "8443"/],
  [
    'with an account id that is a number',
    'c.json',
    '{"accountId":1}',
    /c\.json: accountId must be .*; got 1/,
  ],
  ['with one host name', 'c.json', '{"hostNames":"a"}', /c\.json: hostNames must be a list/],
  ['with a log that is text', 'c.json', '{"log":"all"}', /c\.json: log must be a function/],
  [
    'with a mistyped option of an authorizer',
    'c.json',
    '{"authorizers":{"B":{"module":"a","signingDisable":true}}}',
    /authorizers\["B"\]: there is no option "signingDisable"; did you mean signingDisabled\?/,
  ],
  [
    'with an authorizer without a handler',
    'c.json',
    '{"authorizers":{"B":{"signingDisabled":true}}}',
    /authorizers\["B"\]: needs one of handler/,
  ],
]) {
  test(`a config file ${what}: exit code 2, and its name or its member`, async (t) => {
    const { file } = await folder(t, { [name]: text, 'a.mjs': moduleThatAnswers(grant()) })
    const { code, stderr } = await runCli([
      '--config',
      file(name),
      '--authorizer',
      `A=${file('a.mjs')}`,
      '--port',
      '0',
    ])
    assert.equal(code, 2, stderr)
    assert.match(stderr, said)
  })
}

for (const [what, source, said] of [
  ['that does not exist', undefined, /a\.mjs: there is no such file/],
  ['with a syntax error', 'export const handler = (', /a\.mjs: SyntaxError/],
  ['without a handler', 'export const other = 1', /a\.mjs: .*handler/],
]) {
  test(`a module ${what}: exit code 1, and its path`, async (t) => {
    const { file } = await folder(t, source === undefined ? {} : { 'a.mjs': source })
    const { code, stderr } = await runCli(['--authorizer', `A=${file('a.mjs')}`, '--port', '0'])
    assert.equal(code, 1, stderr)
    assert.match(stderr, said)
    assert.match(stderr, /Mend the module or correct its path/)
  })
}

async function startsNot(t, args, said, options) {
  const { file } = await folder(t, { 'a.mjs': moduleThatAnswers(grant()) })
  const { code, stderr } = await runCli(['--authorizer', `A=${file('a.mjs')}`, ...args], options)
  assert.equal(code, 1, stderr)
  assert.match(stderr, said)
}

test('a port in use: exit code 1, and what to do', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { port } = server.address()
  await startsNot(t, ['--port', String(port)], new RegExp(`Port ${port} .*--port`))
})

test('a host that is no address of this machine: exit code 1, and what to do', async (t) => {
  await startsNot(t, ['--port', '0', '--host', '192.0.2.1'], /no address 192\.0\.2\.1\. Correct --host/)
})

test('a CA file that cannot be written: exit code 1, and its path', async (t) => {
  await startsNot(
    t,
    ['--port', '0', '--ca-file', '/none/ca.pem'],
    /--ca-file \/none\/ca\.pem cannot be written/,
  )
})

test('a start that fails ends it, whatever the config file has begun', async (t) => {
  const { file } = await folder(t, { 'c.mjs': 'setInterval(() => {}, 1000)\nexport default {}' })
  await startsNot(t, ['--port', '0', '--host', '192.0.2.1', '--config', file('c.mjs')], /no address/)
})

test('no temporary folder: exit code 1, and what to do', async (t) => {
  await startsNot(t, ['--port', '0'], /\/none\/tmp.*; set TMPDIR/, { env: { TMPDIR: '/none/tmp' } })
})

test('--json: what a module printed that does not load is shown', async (t) => {
  const { file } = await folder(t, { 'a.mjs': `console.log('looking up')\nthrow new Error('no database')` })
  const { code, stdout } = await runCli(['--json', '--authorizer', `A=${file('a.mjs')}`, '--port', '0'])
  assert.equal(code, 1)
  assert.equal(JSON.parse(stdout).text, 'looking up')
})

test('--help shows every flag', async () => {
  const { code, stdout } = await runCli(['--help'])
  assert.equal(code, 0)
  const flags = [
    'authorizer',
    'token-key-name',
    'public-key',
    'signing-disabled',
    'default-authorizer',
    'port',
  ]
  flags.push('host', 'host-name', 'region', 'account-id', 'profile', 'config', 'json', 'redact', 'no-color')
  flags.push('ca-file', 'help', 'version')
  assert.deepEqual(
    flags.filter((flag) => !stdout.includes(`--${flag} `)),
    [],
  )
})

test('--version shows the version', async () => {
  const { code, stdout } = await runCli(['--version'])
  assert.equal(code, 0)
  assert.match(stdout, /^\d+\.\d+\.\d+\n$/)
})

test('a handler timeout that is no number of seconds is refused', async () => {
  const { code, stderr } = await runCli(['--authorizer', 'A=./a.mjs', '--handler-timeout', '5s'])
  assert.equal(code, 2)
  assert.match(stderr, /^--handler-timeout must be a whole number of seconds; got 5s\./)
})
