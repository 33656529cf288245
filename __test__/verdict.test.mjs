import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { MqttError } from '../dist/client.js'
import { conclude } from '../build/verdict.js'

const ENDPOINT = 'abc123-ats.iot.eu-west-1.amazonaws.com'
const failed = (code, more = {}) =>
  new MqttError({ code, stage: 'connack', message: 'it was refused', hint: 'look', retryable: true, ...more })

const REFUSED = failed('ERR_CLOSED_BEFORE_CONNACK')
const concluded = ({ login = {}, ...subject }, { steps = [], error, refused = false } = {}) =>
  conclude(
    {
      endpoint: ENDPOINT,
      clientId: 'thermostat-7',
      ...subject,
      login: { hasPassword: false, hasToken: false, warnings: [], ...login },
    },
    { steps, error, refused },
  )
const commandsFor = (login, subject = {}) => concluded({ ...subject, login }, { error: REFUSED }).commands

/** The words that a shell makes of a command line, with these variables. */
function words(line, env) {
  const script = `aws() { printf '%s\\n' "$@"; }\n${line}`
  return execFileSync('sh', ['-c', script], { env: { PATH: process.env.PATH, ...env } })
    .toString()
    .split('\n')
    .slice(0, -1)
}

test('a refused login gets command lines with everything filled in that is no secret', () => {
  const commands = commandsFor({ authorizerName: 'Fleet', username: 'sesame', hasPassword: true })
  assert.equal(commands[0], 'aws iot describe-authorizer --region eu-west-1 --authorizer-name=Fleet')
  assert.ok(commands.some((line) => line.startsWith('aws lambda get-policy --region eu-west-1 ')))
  assert.ok(commands.at(-1).includes('thermostat-7'))
  assert.doesNotMatch(commands.join('\n'), /sesame/)
})

const testInvoke = (commands) => commands.find((line) => line.includes('test-invoke-authorizer'))

test('a shell reads the call of test-invoke-authorizer as AWS wants it', () => {
  const login = { authorizerName: 'Fleet', username: 'me', hasPassword: true, hasToken: true }
  const env = {
    DEVICE_USERNAME: 'me?a=b',
    DEVICE_PASSWORD: 'se same',
    DEVICE_TOKEN: 't',
    DEVICE_SIGNATURE: 's',
  }
  const read = words(testInvoke(commandsFor(login)), env)
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
  const read = words(testInvoke(commandsFor({ authorizerName: name }, { clientId: id })), {})
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
  const [describe] = commandsFor({ authorizerName: 'Fleet' }, { endpoint: 'iot.example.com' })
  assert.equal(describe, 'aws iot describe-authorizer --authorizer-name=Fleet')
})

test('over WebSocket the Lambda is given what the request holds, from variables', () => {
  const websocket = { path: '/mqtt?a=secret', headers: { 'X-Tenant': 'secret' } }
  const line = testInvoke(commandsFor({ authorizerName: 'Fleet' }, { transport: 'websocket', websocket }))
  const read = words(line, { DEVICE_QUERY: 'a=b', HEADER_X_TENANT: 'acme' })
  const context = JSON.parse(read[read.indexOf('--http-context') + 1])
  assert.deepEqual(context, { queryString: 'a=b', headers: { 'X-Tenant': 'acme' } })
  assert.doesNotMatch(line, /secret/)
})

for (const [what, found, asked] of [
  ['a login in the request for a WebSocket that was refused', { refused: true }, true],
  ['a request for a WebSocket that failed at port 403', { refused: false }, false],
]) {
  test(`${what} ${asked ? 'needs' : 'needs no'} command lines`, () => {
    const error = failed('ERR_WEBSOCKET', { stage: 'websocket', message: 'localhost:403 answered 404' })
    assert.equal(concluded({}, { error, ...found }).commands.length > 0, asked)
  })
}

test('a signature that does not fit the key, and was accepted, speaks of the key', () => {
  const step = (name, outcome, error) => ({ name, outcome, durationMs: 0, seen: [], error })
  const steps = [step('signature', 'failed', failed('ERR_INVALID_OPTION')), step('connack', 'passed')]
  const { ok, verdict } = concluded({ endpoint: 'e' }, { steps })
  assert.equal(ok, false)
  assert.equal(verdict, 'e accepted the connection although it was refused.')
})

for (const [what, options, error] of [
  ['another failure than a refusal', {}, failed('ERR_TCP', { stage: 'tcp' })],
  ['an endpoint that is not of AWS', { endpoint: 'localhost' }, failed('ERR_NOT_AUTHORIZED')],
  ['no failure', {}, undefined],
]) {
  test(`${what} needs no command lines`, () => {
    assert.deepEqual(concluded(options, { error }).commands, [])
  })
}

test('an address that does not answer is told although another one does', () => {
  const step = (name, outcome) => ({ name, outcome, durationMs: 0, seen: [] })
  const steps = [step('tcp', 'failed'), step('tcp', 'passed'), step('connack', 'passed')]
  const { ok, next } = concluded({ endpoint: 'e' }, { steps })
  assert.equal(ok, true)
  assert.match(next, /^Not every address/)
})
