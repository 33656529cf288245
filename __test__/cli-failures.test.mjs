import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UsageError } from '../build/cli/arguments.js'
import { describeFailure, describeRecord, describeWarning } from '../build/cli/report.js'

const failure = (fields) => Object.assign(new Error(fields.message), fields)

test('a failure is its code, stage and message on one line, its hint and its warnings below', () => {
  const error = failure({
    code: 'ERR_NOT_AUTHORIZED',
    stage: 'connack',
    message: 'host refused\nthe client',
    hint: 'Look here.\nThen there.',
    warnings: ['suspicious'],
  })
  assert.equal(
    describeFailure(error, 'connect'),
    'ERR_NOT_AUTHORIZED (connack): host refused\\nthe client\nLook here.\nThen there.\nWarning: suspicious',
  )
})

test("the server's own words come before the hint, on one line, and cannot steer the terminal", () => {
  const error = failure({
    code: 'ERR_NOT_AUTHORIZED',
    stage: 'connack',
    message: 'refused',
    reasonString: 'token\u001b[2J expired\nFake: line',
    hint: 'Look here.',
  })
  assert.equal(
    describeFailure(error, 'connect'),
    'ERR_NOT_AUTHORIZED (connack): refused\nThe server says: token\\u001b[2J expired\\nFake: line\nLook here.',
  )
  assert.doesNotMatch(describeFailure({ ...error, reasonString: '' }, 'connect'), /The server says/)
})

test('a warning that was told already is not told again', () => {
  const error = failure({ code: 'E', stage: 'connack', message: 'No.', warnings: ['one', 'two'] })
  assert.equal(describeFailure(error, 'connect', new Set(['one'])), 'E (connack): No.\nWarning: two')
})

test('a warning calls options by their flags', () => {
  assert.equal(
    describeWarning('tokenValue is a JWT that expired', 'connect'),
    'Warning: --custom_auth_token_value is a JWT that expired',
  )
  assert.equal(describeWarning('port is 8883, and', 'connect'), 'Warning: --port is 8883, and')
})

test('options are called by the flags of the sample in use', () => {
  const error = failure({
    code: 'ERR_INCOMPLETE_TOKEN',
    stage: 'options',
    message: 'tokenValue without tokenSignature',
    hint: 'See tls.caFile.',
  })
  assert.equal(
    describeFailure(error, 'connect'),
    'ERR_INCOMPLETE_TOKEN (options): --custom_auth_token_value without --custom_auth_authorizer_signature\n' +
      'See --ca_file.',
  )
  assert.equal(
    describeFailure(error, 'pubsub'),
    'ERR_INCOMPLETE_TOKEN (options): --auth_token_key_value without --auth_signature\nSee --ca_file.',
  )
})

for (const [text, expected] of [
  [
    'endpoint must be a name; it holds a port: use the option port',
    '--endpoint must be a name; it holds a port: use --port',
  ],
  ['password is given without a user name', '--custom_auth_password is given without a user name'],
  ['username with authorizerName takes', '--custom_auth_username with --custom_auth_authorizer_name takes'],
  [
    'Set username or authorizerName, or use mqttVersion: 5.',
    'Set --custom_auth_username or --custom_auth_authorizer_name, or use --mqtt_version 5.',
  ],
  ["the user name: `username: '?tok=value'`.", "the user name: `--custom_auth_username '?tok=value'`."],
  ['tokenSignature (or tokenSigningKey) is missing', '--custom_auth_authorizer_signature is missing'],
  ['a certificate of tls.ca or tls.caFile', 'a certificate of --ca_file'],
  ['tls.caFile "/tls.ca/clientId" cannot be read', '--ca_file "/tls.ca/clientId" cannot be read'],
  ['Check the port (443). Raise connectTimeoutMs only on slow networks.', 'Check the port (443).'],
  ['403: the login. 404: check websocket.path. 200: a proxy.', '403: the login. 200: a proxy.'],
  ['the password of proxy is not percent-encoded', 'the password of proxy is not percent-encoded'],
  ['Check the password and the endpoint.', 'Check the password and the endpoint.'],
]) {
  test(`at every stage, "${text}" becomes "${expected}"`, () => {
    const error = failure({ code: 'ERR_TLS', stage: 'tls', message: text, hint: text })
    assert.equal(describeFailure(error, 'connect'), `ERR_TLS (tls): ${expected}\n${expected}`)
  })
}

test('what a hint counts up has a line an item, and none is over 100 columns', () => {
  const hint = `In order: the first: one; the second; the third. ${'word '.repeat(30)}end.`
  const lines = describeFailure(
    failure({ code: 'E', stage: 'connack', message: 'No.', hint }),
    'connect',
  ).split('\n')
  assert.deepEqual(lines.slice(1, 5), [
    'In order:',
    '  1. the first: one',
    '  2. the second',
    '  3. the third',
  ])
  assert.equal(lines.length, 7)
  for (const line of lines) assert.ok(line.length <= 100, line)
})

test('an error of another kind still gets a code', () => {
  assert.equal(describeFailure(new Error('boom'), 'connect'), 'ERR_INTERNAL (operation): boom')
  assert.equal(describeFailure('boom', 'connect'), 'ERR_INTERNAL (operation): boom')
})

test('wrong arguments look like any other invalid option', () => {
  assert.equal(
    describeFailure(new UsageError('No.', 'Try.'), 'connect'),
    'ERR_INVALID_OPTION (options): No.\nTry.',
  )
})

test('a log record is one line, and what came from elsewhere cannot steer the terminal', () => {
  assert.equal(
    describeRecord({ level: 'info', time: 0, message: 'a\nb\u001b[2J', clientId: 'me' }, 'connect'),
    '1970-01-01T00:00:00.000Z info a\\nb\\u001b[2J',
  )
})
