import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { MqttError } from '../dist/client.js'
import { conclude } from '../dist/verdict.js'

const ENDPOINT = 'abc123-ats.iot.eu-west-1.amazonaws.com'
const failed = (code, more = {}) =>
  new MqttError({ code, stage: 'connack', message: 'it was refused', hint: 'look', retryable: true, ...more })

const commandsFor = (options, error = failed('ERR_CLOSED_BEFORE_CONNACK')) =>
  conclude({ endpoint: ENDPOINT, ...options }, { steps: [], warnings: [], error, clientId: 'thermostat-7' })
    .commands

/** The words that a shell makes of a command line, with these variables. */
function words(line, env) {
  const script = `aws() { printf '%s\\n' "$@"; }\n${line}`
  return execFileSync('sh', ['-c', script], { env: { PATH: process.env.PATH, ...env } })
    .toString()
    .split('\n')
    .slice(0, -1)
}

test('a refused login gets command lines with everything filled in that is no secret', () => {
  const commands = commandsFor({ authorizerName: 'Fleet', username: 'me', password: 'sesame' })
  assert.equal(commands[0], 'aws iot describe-authorizer --region eu-west-1 --authorizer-name=Fleet')
  assert.ok(commands.some((line) => line.startsWith('aws lambda get-policy --region eu-west-1 ')))
  assert.ok(commands.at(-1).includes('thermostat-7'))
  assert.doesNotMatch(commands.join('\n'), /sesame/)
})

const testInvoke = (commands) => commands.find((line) => line.includes('test-invoke-authorizer'))

test('a shell reads the call of test-invoke-authorizer as AWS wants it', () => {
  const options = { authorizerName: 'Fleet', username: 'me', password: 'sesame', tokenKeyName: 'tok' }
  const env = {
    DEVICE_USERNAME: 'me?a=b',
    DEVICE_PASSWORD: 'se same',
    DEVICE_TOKEN: 't',
    DEVICE_SIGNATURE: 's',
  }
  const read = words(testInvoke(commandsFor(options)), env)
  assert.deepEqual(read.slice(0, -1), [
    'iot',
    'test-invoke-authorizer',
    '--region',
    'eu-west-1',
    '--authorizer-name=Fleet',
    '--token',
    't',
    '--token-signature',
    's',
    '--mqtt-context',
  ])
  assert.deepEqual(JSON.parse(read.at(-1)), {
    username: 'me?a=b',
    password: Buffer.from(env.DEVICE_PASSWORD).toString('base64'),
    clientId: 'thermostat-7',
  })
})

test('what a shell would take for its own is quoted', () => {
  const name = "-it's $(touch x)!"
  const id = `a,"b' \`c\`$HOME`
  const { commands } = conclude(
    { endpoint: ENDPOINT, authorizerName: name },
    { steps: [], warnings: [], error: failed('ERR_NOT_AUTHORIZED'), clientId: id },
  )
  const read = words(testInvoke(commands), {})
  assert.ok(read.includes(`--authorizer-name=${name}`))
  assert.deepEqual(JSON.parse(read.at(-1)), { clientId: id })
})

test('a user name comes from a variable, since it may hold a token', () => {
  assert.doesNotMatch(commandsFor({ username: 'secret' }).join('\n'), /secret/)
})

test('the authorizer that the user name asks for is the one', () => {
  const username = 'me?x-amz-customauthorizer-name=Fleet%201&tok=secret'
  assert.match(commandsFor({ username })[0], /--authorizer-name='Fleet 1'$/)
})

test('without an authorizer name the default one is asked for, and its name is used', () => {
  const commands = commandsFor({})
  assert.equal(commands[0], 'aws iot describe-default-authorizer --region eu-west-1')
  assert.match(commands[1], /^AUTHORIZER=\$\(aws iot describe-default-authorizer /)
  assert.match(testInvoke(commands), /--authorizer-name="\$AUTHORIZER" /)
})

test('a custom domain says nothing of its region', () => {
  const [describe] = commandsFor({ endpoint: 'iot.example.com', authorizerName: 'Fleet' })
  assert.equal(describe, 'aws iot describe-authorizer --authorizer-name=Fleet')
})

test('a signature that does not fit the key, and was accepted, speaks of the key', () => {
  const step = (name, outcome, error) => ({ name, outcome, durationMs: 0, seen: [], error })
  const steps = [step('signature', 'failed', failed('ERR_INVALID_OPTION')), step('connack', 'passed')]
  const { ok, verdict } = conclude(
    { endpoint: 'e' },
    { steps, warnings: [], error: undefined, clientId: 'c' },
  )
  assert.equal(ok, false)
  assert.equal(
    verdict,
    "e accepted the connection, but it was refused: the key given is not the authorizer's.",
  )
})

for (const [what, options, error] of [
  ['another failure than a refusal', {}, failed('ERR_TCP', { stage: 'tcp' })],
  ['an endpoint that is not of AWS', { endpoint: 'localhost' }, failed('ERR_NOT_AUTHORIZED')],
  ['no failure', {}, undefined],
]) {
  test(`${what} needs no command lines`, () => {
    const { commands } = conclude(
      { endpoint: ENDPOINT, ...options },
      { steps: [], warnings: [], error, clientId: 'c' },
    )
    assert.deepEqual(commands, [])
  })
}

test('an address that does not answer is told although another one does', () => {
  const step = (name, outcome) => ({ name, outcome, durationMs: 0, seen: [] })
  const steps = [step('tcp', 'failed'), step('tcp', 'passed'), step('connack', 'passed')]
  const { ok, next } = conclude({ endpoint: 'e' }, { steps, warnings: [], error: undefined, clientId: 'c' })
  assert.equal(ok, true)
  assert.match(next, /^Not every address/)
})
