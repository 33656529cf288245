import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cli } from './support/cli.mjs'

test('a missing endpoint ends with 2 and the usage, without waiting for standard input', async () => {
  const { code, stdout, stderr } = await cli(['--custom_auth_password', '-'], { withoutClient: true })
  assert.deepEqual({ code, stdout }, { code: 2, stdout: '' })
  assert.match(
    stderr,
    /^ERR_INVALID_OPTION \(options\): --endpoint is required\.\nUsage: .*--endpoint <host>/,
  )
})

test('an unknown flag ends with 2 and the nearest known one', async () => {
  const { code, stdout, stderr } = await cli(['-e', 'host', '--auth_pasword=sesame'], { withoutClient: true })
  assert.deepEqual({ code, stdout }, { code: 2, stdout: '' })
  assert.match(stderr, /^ERR_INVALID_OPTION \(options\): Unknown flag --auth_pasword\.\n.*--auth_password\?/)
  assert.doesNotMatch(stderr, /sesame/)
})

for (const argv of [
  ['-e', 'host', '--custom_auth_password'],
  ['-e', 'host', 'stray'],
  ['-e', 'host', '-e', 'host'],
  ['-e', 'host', '--mqtt_version', '4'],
  ['-e', 'host', '--port', '70000'],
  ['-e', 'host', '--transport', 'wss'],
  ['-e', 'host', '--proxy_host', 'http://proxy'],
  ['-e', 'host', '--proxy_port', '8080'],
  ['-e', 'host', '-u', 'a', '--custom_auth_username', 'b'],
  ['-e', 'host', '--topic', 'devices/#'],
  ['-e', 'host', '-p', 'env:NO_SUCH_VARIABLE_IS_SET'],
]) {
  test(`${argv.join(' ')}: ends with 2, before the addon is loaded, and no stack trace`, async () => {
    const { code, stdout, stderr } = await cli([...argv, '-v', 'debug'], { withoutClient: true })
    assert.deepEqual({ code, stdout }, { code: 2, stdout: '' })
    assert.match(stderr, /^ERR_INVALID_OPTION \(options\): \S.*\n\S.*\n/)
    assert.doesNotMatch(stderr, /\n {4}at /)
  })
}
