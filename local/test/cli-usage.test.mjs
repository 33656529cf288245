import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { test } from 'node:test'
import { folder, runCli } from './cli-support.mjs'
import { grant } from './support.mjs'
import { moduleThatAnswers } from './cli-support.mjs'

for (const [what, args, said] of [
  ['nothing at all', [], /No authorizer is given/],
  ['a flag that does not exist', ['--autorizer', 'A=./a.mjs'], /--autorizer/],
  ['a flag without its value', ['--port'], /--port/],
  ['an authorizer without a module', ['--authorizer', 'A'], /NAME=MODULE/],
  ['an authorizer given twice', ['--authorizer', 'A=./a', '--authorizer', 'A=./b'], /twice/],
  ['a Lambda without a function', ['--authorizer', 'A=lambda:http://127.0.0.1:3001'], /MyFunction/],
  ['a flag about signing before any authorizer', ['--signing-disabled'], /before any --authorizer/],
  ['a public key that is not there', ['--authorizer', 'A=./a', '--public-key', '/none.pem'], /none\.pem/],
  ['a port that is none', ['--authorizer', 'A=./a', '--port', '70000'], /--port/],
  ['an account id that is none', ['--authorizer', 'A=./a', '--account-id', '12'], /12 digits/],
  ['a profile that does not exist', ['--authorizer', 'A=./a', '--profile', 'nice'], /aws or friendly/],
  ['a config file that is not there', ['--config', '/none.json'], /none\.json/],
]) {
  test(`${what}: exit code 2, and a line that says what is wrong and what next`, async () => {
    const { code, stdout, stderr } = await runCli(args)
    assert.equal(code, 2, stderr)
    assert.match(stderr, said)
    assert.ok(stderr.trim().split('\n').length >= 2, stderr)
    assert.equal(stdout, '')
  })
}

test('a key without a token key name: exit code 2', async (t) => {
  const { file } = await folder(t, { 'key.pem': 'PEM' })
  const { code, stderr } = await runCli(['--authorizer', 'A=./a', '--public-key', file('key.pem')])
  assert.equal(code, 2)
  assert.match(stderr, /--token-key-name/)
})

for (const [what, name, text, said] of [
  ['that is no JSON', 'c.json', '{', /no valid JSON/],
  ['that holds no object', 'c.json', '[]', /no object/],
  ['that throws', 'c.mjs', 'throw new Error("boom")', /boom/],
]) {
  test(`a config file ${what}: exit code 2`, async (t) => {
    const { file } = await folder(t, { [name]: text })
    const { code, stderr } = await runCli(['--config', file(name)])
    assert.equal(code, 2, stderr)
    assert.match(stderr, said)
  })
}

test('a config file with an option that does not exist: exit code 1 and its name', async (t) => {
  const { file } = await folder(t, { 'c.json': '{"authorizer":{}}', 'a.mjs': moduleThatAnswers(grant()) })
  const { code, stderr } = await runCli(['--config', file('c.json'), '--authorizer', `A=${file('a.mjs')}`])
  assert.equal(code, 1)
  assert.match(stderr, /"authorizer"/)
})

test('a module that does not load: exit code 1 and its path', async () => {
  const { code, stderr } = await runCli(['--authorizer', 'A=./none.mjs', '--port', '0'])
  assert.equal(code, 1)
  assert.match(stderr, /none\.mjs/)
})

test('a port in use: exit code 1, and what to do', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { file } = await folder(t, { 'a.mjs': moduleThatAnswers(grant()) })
  const { port } = server.address()
  const { code, stderr } = await runCli(['--authorizer', `A=${file('a.mjs')}`, '--port', String(port)])
  assert.equal(code, 1)
  assert.match(stderr, new RegExp(`Port ${port} .*--port`))
})

test('--help shows every flag, --version the version', async () => {
  const help = await runCli(['--help'])
  assert.equal(help.code, 0)
  for (const flag of ['--authorizer', '--public-key', '--config', '--json', '--redact', '--profile']) {
    assert.ok(help.stdout.includes(flag), flag)
  }
  const { code, stdout } = await runCli(['--version'])
  assert.equal(code, 0)
  assert.match(stdout, /^\d+\.\d+\.\d+\n$/)
})
