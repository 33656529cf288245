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
  assert.equal(commands[0], 'aws iot describe-authorizer --region eu-west-1 --authorizer-name Fleet')
  assert.ok(commands.some((line) => line.startsWith('aws lambda get-policy --region eu-west-1 ')))
  assert.ok(commands.at(-1).includes('thermostat-7'))
  assert.doesNotMatch(commands.join('\n'), /sesame/)
})

test('a shell reads the call of test-invoke-authorizer as AWS wants it', () => {
  const line = commandsFor({
    authorizerName: 'Fleet',
    username: 'me',
    password: 'sesame',
    tokenKeyName: 'tok',
  }).find((one) => one.includes('test-invoke-authorizer'))
  const env = { DEVICE_USERNAME: 'me', DEVICE_PASSWORD: 'se same', DEVICE_TOKEN: 't', DEVICE_SIGNATURE: 's' }
  const password = Buffer.from(env.DEVICE_PASSWORD).toString('base64')
  assert.deepEqual(words(line, env), [
    'iot',
    'test-invoke-authorizer',
    '--region',
    'eu-west-1',
    '--authorizer-name',
    'Fleet',
    '--token',
    't',
    '--token-signature',
    's',
    '--mqtt-context',
    `username=me,password=${password},clientId=thermostat-7`,
  ])
})

test('what a shell would take for its own is quoted', () => {
  const options = { authorizerName: "it's $(touch x)" }
  const line = commandsFor(options).find((one) => one.includes('test-invoke-authorizer'))
  const read = words(line, {})
  assert.equal(read[read.indexOf('--authorizer-name') + 1], options.authorizerName)
})

test('a user name comes from a variable, since it may hold a token', () => {
  const line = commandsFor({ username: 'secret' }).find((one) => one.includes('--mqtt-context'))
  assert.match(line, /username=\$DEVICE_USERNAME/)
  assert.doesNotMatch(line, /secret/)
})

test('without an authorizer name the default one is asked for', () => {
  assert.equal(commandsFor({})[0], 'aws iot describe-default-authorizer --region eu-west-1')
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
