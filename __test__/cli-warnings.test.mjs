import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { startLocalEndpoint } from 'custom-authorizer-local'
import { passwordAuthorizer } from './support/authorizers.mjs'
import { cli } from './support/cli.mjs'

let local
let where

before(async () => {
  local = await startLocalEndpoint({ authorizers: { Password: passwordAuthorizer('user', 'sesame') } })
  where = ['--endpoint', local.endpoint, '--port', String(local.port), '--ca_file', local.caFile]
})
after(() => local?.close())

const LOGIN = ['--custom_auth_authorizer_name', 'Password', '--custom_auth_username', 'user']
const WARNING = /^Warning: --client_id "my-device" looks like a placeholder/gm

test('without a log a warning is on stderr all the same, and nothing is ended by it', async () => {
  const { code, stdout, stderr } = await cli([
    ...where,
    ...LOGIN,
    '--custom_auth_password',
    'sesame',
    '--client_id',
    'my-device',
  ])
  assert.equal(code, 0)
  assert.match(stdout, /Connection completed/)
  assert.match(stderr, WARNING)
  assert.equal(stderr.trimEnd().split('\n').length, 1)
})

for (const verbosity of ['none', 'error', 'trace']) {
  test(`--verbosity ${verbosity}: a refused run tells a warning once, and why it may have been refused`, async () => {
    const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
    const password = `${encode({ alg: 'RS256' })}.${encode({ exp: 1 })}.c2VjcmV0`
    const { code, stderr } = await cli([
      ...where,
      ...LOGIN,
      '--custom_auth_password',
      password,
      '--client_id',
      'my-device',
      '--verbosity',
      verbosity,
    ])
    assert.equal(code, 1)
    assert.equal(stderr.match(/looks like a placeholder/g).length, 1, stderr)
    assert.match(stderr, /^In order of likelihood:$|^This is how .*likelihood:$/m)
    assert.match(stderr, /^ {2}1\. (the |--custom_auth_)?password is a JWT that expired \d+ days ago/m)
    assert.match(stderr, /^ {2}2\. the authorizer answered isAuthenticated: false$/m)
    assert.match(stderr, /log of custom-authorizer-local/)
    assert.doesNotMatch(stderr, /c2VjcmV0/)
  })
}
