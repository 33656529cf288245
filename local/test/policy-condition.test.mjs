import assert from 'node:assert/strict'
import { test } from 'node:test'
import condition from '../dist/policy/policy-condition.js'
import { ARN } from './support.mjs'

const VARIABLES = new Map([
  ['iot:clientid', 'device-1'],
  ['aws:sourceip', '10.1.2.3'],
])

/** Whether `operator` holds for a key with these values in the request; none is a key that is not there. */
function holds(operator, wanted, ...actual) {
  const parsed = condition.parseConditions({ [operator]: { 'iot:ConnectAttributes': wanted } }, '.Condition')
  const context = new Map(actual.length === 0 ? [] : [['iot:connectattributes', actual]])
  return parsed.every((one) => condition.conditionHolds(one, context, VARIABLES))
}

const pathOf = (operator, wanted, key = 'aws:SourceIp') => {
  try {
    condition.parseConditions({ [operator]: { [key]: wanted } }, '.Condition')
  } catch (error) {
    return error.path
  }
}

/** [operator, value of the policy, values of the request, outcome] */
const TABLE = [
  ['StringEquals', 'a', ['a'], true],
  ['StringEquals', 'a', ['A'], false],
  ['StringEquals', 'a*', ['ab'], false],
  ['StringEquals', '${iot:ClientId}', ['device-1'], true],
  ['StringNotEquals', 'a', ['b'], true],
  ['StringNotEquals', ['a', 'b'], ['b'], false],
  ['StringEqualsIgnoreCase', 'a', ['A'], true],
  ['StringNotEqualsIgnoreCase', 'a', ['A'], false],
  ['StringLike', 'a*c?', ['abbcd'], true],
  ['StringLike', 'a${*}', ['ab'], false],
  ['StringLike', 'a${*}', ['a*'], true],
  ['StringNotLike', 'a*', ['abc'], false],

  ['ArnEquals', `${ARN}:topic/a/*`, [`${ARN}:topic/a/b/c`], true],
  ['ArnLike', 'arn:aws:iot:*:*:topic/x', [`${ARN}:topic/x`], true],
  ['ArnLike', 'arn:aws:iot:*:topic/x:y', [`${ARN}:topic/x:y`], false],
  ['ArnLike', 'arn:*:topic/x:*:*:*', [`${ARN}:topic/x`], false],
  ['ArnLike', `${ARN}:topic/x:*`, [`${ARN}:topic/x:y:z`], true],
  ['ArnLike', `${ARN}:topic/\${iot:ClientId}`, [`${ARN}:topic/device-1`], true],
  ['ArnNotEquals', `${ARN}:topic/a`, [`${ARN}:topic/b`], true],
  ['ArnNotLike', `${ARN}:topic/*`, [`${ARN}:topic/b`], false],

  ['IpAddress', '10.0.0.0/8', ['10.255.0.1'], true],
  ['IpAddress', '10.0.0.0/8', ['11.0.0.1'], false],
  ['IpAddress', '2001:db8::/32', ['2001:db8::1'], true],
  ['IpAddress', '2001:db8::/32', ['10.0.0.1'], false],
  ['NotIpAddress', '10.0.0.0/8', ['11.0.0.1'], true],

  ['NumericEquals', '10', ['10.0'], true],
  ['NumericEquals', 10, ['10'], true],
  ['NumericNotEquals', '10', ['11'], true],
  ['NumericLessThan', '10', ['9'], true],
  ['NumericLessThan', '10', ['10'], false],
  ['NumericLessThanEquals', '10', ['10'], true],
  ['NumericGreaterThan', '10', ['9'], false],
  ['NumericGreaterThanEquals', '10', ['10'], true],
  ['NumericLessThan', '10', ['nine'], false],

  ['DateEquals', '2026-01-31T12:00:00Z', ['2026-01-31T13:00:00+01:00'], true],
  ['DateEquals', '2026-01-31T12:00', ['2026-01-31T12:00:00Z'], true],
  ['DateEquals', '1769860800', ['2026-01-31T12:00:00Z'], true],
  ['DateNotEquals', '2026-01-31', ['2026-02-01'], true],
  ['DateLessThan', '2026-01-31', ['2026-01-30T23:59:59Z'], true],
  ['DateLessThanEquals', '2026-01-31', ['2026-01-31'], true],
  ['DateGreaterThan', '2026-01-31', ['2026-01-31'], false],
  ['DateGreaterThanEquals', '2026-01-31', ['2026-01-31'], true],

  ['Bool', 'true', ['true'], true],
  ['Bool', true, ['TRUE'], true],
  ['Bool', 'false', ['true'], false],

  ['Null', 'true', [], true],
  ['Null', 'true', ['x'], false],
  ['Null', 'false', ['x'], true],
  ['Null', false, [], false],

  // A key that is not there
  ['StringEquals', 'a', [], false],
  ['StringNotEquals', 'a', [], true],
  ['StringEqualsIfExists', 'a', [], true],
  ['StringEqualsIfExists', 'a', ['b'], false],
  ['NumericLessThanIfExists', '1', [], true],
  ['ForAllValues:StringEquals', 'a', [], true],
  ['ForAnyValue:StringEquals', 'a', [], false],
  ['ForAnyValue:StringEqualsIfExists', 'a', [], true],

  // Several values
  ['ForAllValues:StringEquals', ['a', 'b'], ['a', 'b'], true],
  ['ForAllValues:StringEquals', ['a'], ['a', 'b'], false],
  ['ForAnyValue:StringEquals', ['b', 'c'], ['a', 'b'], true],
  ['ForAnyValue:StringEquals', ['c'], ['a', 'b'], false],
  ['ForAllValues:StringNotEquals', ['c'], ['a', 'b'], true],
  ['ForAllValues:StringNotEquals', ['b'], ['a', 'b'], false],
  ['ForAnyValue:StringNotEquals', ['b'], ['a', 'b'], true],
]

for (const [operator, wanted, actual, outcome] of TABLE) {
  test(`${operator} ${JSON.stringify(wanted)} ${outcome ? 'holds' : 'does not hold'} for [${actual}]`, () => {
    assert.equal(holds(operator, wanted, ...actual), outcome)
  })
}

test('all operators and keys of a block must hold', () => {
  const parsed = condition.parseConditions(
    { IpAddress: { 'aws:SourceIp': '10.0.0.0/8' }, Null: { 'iot:LastWillTopic': 'true' } },
    '.Condition',
  )
  assert.deepEqual(
    parsed.map(({ operator, key }) => [operator, key]),
    [
      ['IpAddress', 'aws:sourceip'],
      ['Null', 'iot:lastwilltopic'],
    ],
  )
})

test('a value that the operator cannot judge is refused, with the place', () => {
  const place = (operator) => `.Condition.${operator}["aws:SourceIp"]`
  for (const [operator, value] of [
    ['IpAddress', '10.0.0.0/33'],
    ['IpAddress', 'example.com'],
    ['NumericEquals', 'ten'],
    ['DateLessThan', 'tomorrow'],
    ['Bool', 'yes'],
    ['Null', 'no'],
    ['ArnLike', 'topic/x'],
    ['StringEquals', []],
    ['StringEquals', {}],
  ]) {
    assert.equal(pathOf(operator, value), place(operator), `${operator} ${value}`)
  }
})

test('an operator or a key that does not exist is refused, with the place', () => {
  assert.equal(pathOf('StringMatches', 'x'), '.Condition.StringMatches')
  assert.equal(pathOf('ForSome:StringLike', 'x'), '.Condition.ForSome:StringLike')
  assert.equal(pathOf('NullIfExists', 'true'), '.Condition.NullIfExists')
  assert.equal(pathOf('ForAnyValue:Null', 'true'), '.Condition.ForAnyValue:Null')
  assert.equal(pathOf('StringEquals', 'x', 'aws:Nothing'), '.Condition.StringEquals["aws:Nothing"]')
})

test('keys of things and certificates are known, and without a certificate have no value', () => {
  for (const key of [
    'iot:Connection.Thing.IsAttached',
    'iot:Connection.Thing.Attributes[envType]',
    'iot:CertificateId',
    'iot:Certificate.Subject.CommonName.0',
  ]) {
    const [parsed] = condition.parseConditions({ Bool: { [key]: 'true' } }, '.Condition')
    assert.equal(condition.conditionHolds(parsed, new Map(), VARIABLES), false, key)
  }
})
