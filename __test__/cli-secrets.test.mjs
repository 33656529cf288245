import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseArguments } from '../build/cli/arguments.js'
import { readSecrets } from '../build/cli/secrets.js'
import { settingsFrom } from '../build/cli/settings.js'

async function* chunks(...parts) {
  for (const part of parts) yield Buffer.from(part)
}

async function options(argv, { env = {}, stdin = [] } = {}) {
  const values = await readSecrets(parseArguments(['-e', 'host', ...argv]), env, () => chunks(...stdin))
  return settingsFrom(values).options
}

const SECRETS = {
  custom_auth_password: 'password',
  custom_auth_token_value: 'tokenValue',
  custom_auth_authorizer_signature: 'tokenSignature',
  auth_password: 'password',
  auth_token_key_value: 'tokenValue',
  auth_signature: 'tokenSignature',
}

for (const [flag, option] of Object.entries(SECRETS)) {
  test(`--${flag} takes env:NAME and standard input`, async () => {
    assert.equal((await options([`--${flag}`, 'env:SESAME'], { env: { SESAME: 'open' } }))[option], 'open')
    assert.equal((await options([`--${flag}`, '-'], { stdin: ['op', 'en\n'] }))[option], 'open')
    assert.equal((await options([`--${flag}=-`], { stdin: ['open'] }))[option], 'open')
  })
}

test('only the last line feed of standard input is removed', async () => {
  assert.equal((await options(['-p', '-'], { stdin: ['a\nb\n\n'] })).password, 'a\nb\n')
  assert.equal((await options(['-p', '-'], { stdin: ['ab\r\n'] })).password, 'ab')
  assert.equal((await options(['-p', '-'], { stdin: [' ab '] })).password, ' ab ')
})

test('a password from standard input may be bytes, a token may not', async () => {
  const { password } = await options(['-p', '-'], { stdin: [[0xff, 0x00, 0x0a]] })
  assert.deepEqual([...password], [0xff, 0x00])
  await assert.rejects(
    options(['--auth_token_key_value', '-'], { stdin: [[0xff]] }),
    /--auth_token_key_value.*UTF-8/,
  )
})

test('standard input serves one flag only', async () => {
  const error = await options(['-p', '-', '--auth_token_key_value', '-']).catch((reason) => reason)
  assert.match(error.message, /^--auth_password and --auth_token_key_value both read standard input/)
})

test('standard input is not read without end', async () => {
  await assert.rejects(
    options(['-p', '-'], { stdin: Array(70).fill('x'.repeat(1024)) }),
    /more than 65536 bytes/,
  )
})

test('a variable that is not set is refused without its name, which may be a secret itself', async () => {
  const error = await options(['-p', 'env:sesame']).catch((reason) => reason)
  assert.match(error.message, /^--auth_password names an environment variable that is not set/)
  assert.doesNotMatch(error.message + error.hint, /sesame/)
})

test('a variable or a standard input with nothing in it is refused', async () => {
  await assert.rejects(options(['-p', 'env:EMPTY'], { env: { EMPTY: '' } }), {
    message: '--auth_password names an environment variable that is empty.',
  })
  for (const stdin of [[], ['\n']]) {
    await assert.rejects(options(['--custom_auth_password', '-'], { stdin }), {
      message: '--custom_auth_password: standard input is empty.',
    })
  }
})

test('flags that are no secrets are taken by their word', async () => {
  const { username, tokenKeyName } = await options(['-u', 'env:HOME', '-k', '-'], { env: { HOME: '/root' } })
  assert.equal(username, 'env:HOME')
  assert.equal(tokenKeyName, '-')
})

test('two names of one meaning are compared by what they resolve to', async () => {
  const env = { SESAME: 'open' }
  const argv = ['-p', 'env:SESAME', '--custom_auth_password', 'open']
  assert.equal((await options(argv, { env })).password, 'open')
})
