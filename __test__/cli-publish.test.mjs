import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { startLocalEndpoint } from 'custom-authorizer-local'
import { allow, passwordAuthorizer, signingAuthorizer } from './support/authorizers.mjs'
import { cli, startCli } from './support/cli.mjs'

const password = passwordAuthorizer('user', 'sesame')
const signing = signingAuthorizer('key')
const deaf = passwordAuthorizer('user', 'sesame', allow(['iot:Connect', 'iot:Publish', 'iot:Receive']))
let local
let where

before(async () => {
  local = await startLocalEndpoint({ authorizers: { Password: password, Signing: signing, Deaf: deaf } })
  where = ['--endpoint', local.endpoint, '--port', String(local.port), '--ca_file', local.caFile]
})
after(() => local?.close())

const PASSWORD = ['--authorizer_name', 'Password', '--auth_username', 'user', '--auth_password', 'sesame']

test("the newer samples' flags publish and receive five messages over MQTT 5", async () => {
  const { code, stdout, stderr } = await cli([...where, ...PASSWORD])
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
  assert.match(stdout, /^Connecting to \S+ as mqtt5-sample-[0-9a-f]{8} over MQTT 5\.\.\.\nConnected\.\n/)
  for (let number = 1; number <= 5; number++) {
    const text = `Hello from mqtt5 sample [${number}]`
    assert.ok(stdout.includes(`Publishing ${number} of 5 to test/topic: ${text}\n`), stdout)
    assert.ok(stdout.includes(`Received ${number} of 5 on test/topic: ${text}\n`), stdout)
  }
  assert.match(stdout, /\nMessages published and received: 5\.\n(.*\n)*Disconnected\.\n$/)
})

test('they work over MQTT 3.1.1 as well', async () => {
  const { code, stdout } = await cli([...where, ...PASSWORD, '-V', '3', '-n', '1', '-t', 'a/b', '-m', 'Hi'])
  assert.equal(code, 0)
  assert.match(stdout, /over MQTT 3\.1\.1\.\.\.\n/)
  assert.match(stdout, /\nReceived 1 of 1 on a\/b: Hi \[1\]\n/)
})

test('a signed token opens the way too', async () => {
  const { token, signature } = signing.signedToken()
  const args = ['-a', 'Signing', '-k', 'key', '--auth_token_key_value', token, '-s', signature, '-n1']
  const { code, stderr } = await cli([...where, ...args])
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
})

test('a refused subscription is reported, after a clean end', async () => {
  const args = ['-a', 'Deaf', '-u', 'user', '-p', 'sesame']
  const { code, stdout, stderr } = await cli([...where, ...args])
  assert.equal(code, 1)
  assert.match(stderr, /^ERR_[A-Z_]+ \((operation|session)\): \S/)
  assert.match(stdout, /\nDisconnected\.\n$/)
})

for (const [signal, expected] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
]) {
  test(`a run without end is disconnected by ${signal} and ends with ${expected}`, async () => {
    const { child, exited, until } = startCli([...where, ...PASSWORD, '--count', '0'])
    await until('Received 1 on test/topic')
    child.kill(signal)
    const { code, stdout, stderr } = await exited
    assert.deepEqual({ code, stderr }, { code: expected, stderr: `Interrupted by ${signal}.\n` })
    assert.match(stdout, /\nDisconnecting\.\.\.\nDisconnected\.\n$/)
  })
}

test('a reader that goes away ends the run without a stack trace', async () => {
  const { child, exited, until } = startCli([...where, ...PASSWORD, '--count', '0'])
  await until('Received 1 on test/topic')
  child.stdout.destroy()
  const { code, stderr } = await exited
  assert.deepEqual({ code, stderr }, { code: 141, stderr: '' })
})
