import assert from 'node:assert/strict'
import { test } from 'node:test'
import { explainDecision } from 'custom-authorizer-local'
import policy from '../dist/policy/policy.js'
import policyDocument from '../dist/policy/policy-document.js'
import { allow, ARN, deny, document } from './support.mjs'

const CONTEXT = {
  region: 'us-east-1',
  accountId: '123456789012',
  clientId: 'device-1',
  sourceIp: '10.1.2.3',
  persistent: false,
}
const FIRST = 'policyDocuments[0].Statement[0]'
const ELSEWHERE = 'arn:aws:iot:eu-west-1:111122223333:'

const policyOf = (...statements) =>
  new policy.Policy([policyDocument.parsePolicyDocument(document(...statements))], CONTEXT)

for (const [what, decide, statement, hint] of [
  ['an action that is missing', (p) => p.connect(), allow('iot:Publish'), 'none allows iot:Connect at all'],
  [
    'another region and account',
    (p) => p.connect(),
    allow('iot:Connect', `${ELSEWHERE}client/\${iot:ClientId}`),
    `${FIRST} allows it in ${ELSEWHERE} but this endpoint is ${ARN}: (options region and accountId, --region and --account-id)`,
  ],
  [
    'topic/ in place of topicfilter/',
    (p) => p.subscribe('a/b'),
    allow('iot:Subscribe', `${ARN}:topic/a/*`),
    `${FIRST} allows it on ${ARN}:topic/a/*, but iot:Subscribe is judged on topicfilter/…`,
  ],
  [
    'both of these',
    (p) => p.subscribe('a/b'),
    allow('iot:Subscribe', `${ELSEWHERE}topic/a/*`),
    `${FIRST} allows it on ${ELSEWHERE}topic/a/*, but iot:Subscribe is judged on topicfilter/…, and this endpoint is ${ARN}: (options region and accountId, --region and --account-id)`,
  ],
  [
    'a Condition',
    (p) => p.connect(),
    { ...allow('iot:Connect'), Condition: { IpAddress: { 'aws:SourceIp': '192.0.2.0/24' } } },
    `${FIRST} would allow it, but its Condition does not hold (IpAddress aws:sourceip)`,
  ],
  [
    'a variable without a value',
    (p) => p.publish('things/x', false),
    allow('iot:Publish', `${ARN}:topic/things/\${iot:Connection.Thing.ThingName}`),
    `${FIRST} would need a value for \${iot:Connection.Thing.ThingName}, which this connection has not; without it the statement matches nothing`,
  ],
  [
    'another topic',
    (p) => p.publish('a/c', false),
    allow('iot:Publish', [`${ARN}:topic/\${iot:ClientId}/1`, `${ARN}:topic/a/2`, `${ARN}:topic/a/3`]),
    `${FIRST} allows iot:Publish on ${ARN}:topic/device-1/1, ${ARN}:topic/a/2, …`,
  ],
  [
    'a NotResource',
    (p) => p.publish('a', false),
    { Effect: 'Allow', Action: 'iot:Publish', NotResource: `${ARN}:topic/a` },
    `${FIRST} allows iot:Publish on everything but ${ARN}:topic/a`,
  ],
]) {
  test(`a denial for want of a statement names the nearest: ${what}`, () => {
    const decision = decide(policyOf(statement))
    assert.equal(decision.hint, hint)
    assert.ok(explainDecision(decision).endsWith(`: no statement allows it; ${hint}`))
  })
}

test('an explicit Deny and a permission need no hint', () => {
  const evaluated = policyOf(allow('iot:*'), deny('iot:Publish'))
  assert.equal(evaluated.publish('a', false).hint, undefined)
  assert.equal(evaluated.connect().hint, undefined)
})

test('a Deny is no near miss', () => {
  assert.equal(
    policyOf(deny('iot:Publish', `${ARN}:topic/b`)).publish('a', false).hint,
    'none allows iot:Publish at all',
  )
})
