import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UsageError } from '../dist/cli/arguments.js'
import { describeFailure, describeRecord } from '../dist/cli/report.js'

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
    describeRecord({ level: 'info', time: 0, message: 'a\nb\u001b[2J', clientId: 'me' }),
    '1970-01-01T00:00:00.000Z info a\\nb\\u001b[2J',
  )
})
