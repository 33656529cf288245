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

const policyOf = (statements, context) =>
  new policy.Policy([policyDocument.parsePolicyDocument(document(...statements))], { ...CONTEXT, ...context })

test('nothing is allowed by default', () => {
  const decision = policyOf([allow('iot:Subscribe')]).publish('a', false)
  assert.equal(decision.allowed, false)
  assert.equal(decision.reason, 'implicit-deny')
  assert.equal(decision.resource, `${ARN}:topic/a`)
  assert.equal(decision.statement, undefined)
})

test('an explicit deny wins over an allow, in either order and across documents', () => {
  const one = policyOf([allow('iot:*'), deny('iot:Publish', `${ARN}:topic/secret/*`)])
  assert.equal(one.publish('open', false).allowed, true)
  assert.deepEqual(one.publish('secret/x', false).statement, { document: 0, index: 1 })
  const documents = [document(deny('iot:Publish')), document(allow('iot:*'))]
  const two = new policy.Policy(documents.map(policyDocument.parsePolicyDocument), CONTEXT)
  assert.equal(two.publish('open', false).reason, 'explicit-deny')
})

test('the statement that decided is named', () => {
  const statements = [
    { Sid: 'First', ...allow('iot:Connect') },
    { Sid: 'Second', ...deny('iot:Publish') },
  ]
  const evaluated = policyOf(statements)
  assert.equal(
    explainDecision(evaluated.publish('a', false)),
    `iot:Publish on ${ARN}:topic/a is denied by policyDocuments[0].Statement[1] ("Second"), an explicit Deny`,
  )
  assert.deepEqual(evaluated.connect().statement, { document: 0, index: 0, sid: 'First' })
})

test('* crosses levels, ? is one character, + and # are plain', () => {
  const evaluated = policyOf([
    allow('iot:Publish', [`${ARN}:topic/a/*/z`, `${ARN}:topic/b?`]),
    allow('iot:Subscribe', [`${ARN}:topicfilter/a/*`, `${ARN}:topicfilter/b/+`]),
  ])
  assert.equal(evaluated.publish('a/1/2/z', false).allowed, true)
  assert.equal(evaluated.publish('a/z', false).allowed, false)
  assert.equal(evaluated.publish('b1', false).allowed, true)
  assert.equal(evaluated.publish('b', false).allowed, false)
  assert.equal(evaluated.publish('b😀', false).allowed, true)
  assert.equal(evaluated.subscribe('a/#').allowed, true)
  assert.equal(evaluated.subscribe('b/+').allowed, true)
  assert.equal(evaluated.subscribe('b/x').allowed, false)
})

test('a pattern with many stars stays quick on a hostile topic', () => {
  const evaluated = policyOf([allow('iot:Publish', `${ARN}:topic/${'*a'.repeat(30)}b`)])
  assert.equal(evaluated.publish('a'.repeat(250), false).allowed, false)
})

test('actions are compared without regard to case and may hold wildcards', () => {
  assert.equal(policyOf([allow('iot:PUB*')]).publish('a', false).allowed, true)
  assert.equal(policyOf([allow('*')]).connect().allowed, true)
})

test('actions of other services may be there, and allow nothing here', () => {
  const evaluated = policyOf([
    allow(['iotjobsdata:DescribeJobExecution', 'iot:Connect']),
    allow('greengrass:*'),
  ])
  assert.equal(evaluated.connect().allowed, true)
  assert.equal(evaluated.publish('a', false).allowed, false)
})

test('NotAction and NotResource cover everything else', () => {
  const evaluated = policyOf([
    { Effect: 'Allow', NotAction: 'iot:Publish', Resource: '*' },
    { Effect: 'Allow', Action: 'iot:Publish', NotResource: `${ARN}:topic/private/*` },
  ])
  assert.equal(evaluated.connect().allowed, true)
  assert.equal(evaluated.publish('open', false).allowed, true)
  assert.equal(evaluated.publish('private/x', false).allowed, false)
})

test('variables are replaced by their values, literally', () => {
  const statements = [
    allow('iot:Connect', `${ARN}:client/\${iot:ClientId}`),
    allow('iot:Publish', `${ARN}:topic/dev/\${iot:ClientId}/*`),
  ]
  assert.equal(policyOf(statements).connect().allowed, true)
  assert.equal(policyOf(statements).publish('dev/device-1/x', false).allowed, true)
  assert.equal(policyOf(statements).publish('dev/device-2/x', false).allowed, false)
  assert.equal(policyOf(statements, { clientId: '*' }).publish('dev/device-1/x', false).allowed, false)
})

test('${*}, ${?} and ${$} stand for the characters themselves, also in the form of the guide', () => {
  for (const [open, close] of ['{}', '()']) {
    const names = [...'*?$'].map((char) => `${ARN}:topic/$${open}${char}${close}`)
    const evaluated = policyOf([allow('iot:Publish', names)])
    for (const name of '*?$') assert.equal(evaluated.publish(name, false).allowed, true, name)
    assert.equal(evaluated.publish('x', false).allowed, false)
  }
})

test('a variable without a value makes its statement match nothing', () => {
  const thing = '${iot:Connection.Thing.ThingName}'
  assert.equal(policyOf([allow('iot:Publish', `${ARN}:topic/${thing}`)]).publish('x', false).allowed, false)
  const denied = [allow('iot:*'), { Effect: 'Deny', Action: 'iot:*', NotResource: `${ARN}:topic/${thing}` }]
  assert.equal(policyOf(denied).publish('x', false).allowed, true)
})

test('a variable without a value voids its statement as a whole, other resources and conditions included', () => {
  const thing = '${iot:Connection.Thing.ThingName}'
  const beside = [allow('iot:Publish', [`${ARN}:topic/${thing}`, `${ARN}:topic/x`])]
  assert.equal(policyOf(beside).publish('x', false).allowed, false)
  const condition = [
    { ...allow('iot:Publish'), Condition: { StringNotEquals: { 'aws:SourceIp': `${thing}` } } },
  ]
  assert.equal(policyOf(condition).publish('x', false).allowed, false)
})

test('a document for another partition than that of the region grants nothing', () => {
  const china = { region: 'cn-north-1' }
  const of = (partition) => [allow('iot:Publish', `arn:${partition}:iot:cn-north-1:123456789012:topic/*`)]
  assert.equal(policyOf(of('aws-cn'), china).publish('x', false).allowed, true)
  assert.equal(policyOf(of('aws'), china).publish('x', false).allowed, false)
})

test('an explicit deny in the tenth document wins over nine that allow', () => {
  const documents = [
    ...Array.from({ length: 9 }, () => document(allow('iot:*'))),
    document(deny('iot:Connect')),
  ]
  const evaluated = new policy.Policy(documents.map(policyDocument.parsePolicyDocument), CONTEXT)
  assert.deepEqual(evaluated.connect().statement, { document: 9, index: 0 })
  assert.equal(evaluated.connect().reason, 'explicit-deny')
})

test('a retained message needs iot:RetainPublish as well', () => {
  const evaluated = policyOf([allow('iot:Publish')])
  assert.equal(evaluated.publish('a', false).allowed, true)
  assert.equal(evaluated.publish('a', true).action, 'iot:RetainPublish')
  assert.equal(evaluated.publish('a', true).allowed, false)
  assert.equal(policyOf([allow(['iot:Publish', 'iot:RetainPublish'])]).publish('a', true).allowed, true)
})

test('conditions: connect attributes and the will topic', () => {
  const attributes = (operator, ...values) => [
    { ...allow('iot:Connect'), Condition: { [operator]: { 'iot:ConnectAttributes': values } } },
  ]
  const persistent = { persistent: true }
  const withWill = { persistent: true, willTopic: 'last/will' }
  const all = attributes('ForAllValues:StringEquals', 'PersistentConnect')
  assert.equal(policyOf(all).connect().allowed, true)
  assert.equal(policyOf(all, persistent).connect().allowed, true)
  assert.equal(policyOf(all, withWill).connect().allowed, false)
  const any = attributes('ForAnyValue:StringEquals', 'LastWill')
  assert.equal(policyOf(any, persistent).connect().allowed, false)
  assert.equal(policyOf(any, withWill).connect().allowed, true)
  const will = [
    { ...allow('iot:Connect'), Condition: { ArnEquals: { 'iot:LastWillTopic': `${ARN}:topic/last/*` } } },
  ]
  assert.equal(policyOf(will, withWill).connect().allowed, true)
  assert.equal(policyOf(will).connect().allowed, false)
})

test('conditions: the source address', () => {
  const from = (operator, range) =>
    policyOf([{ ...allow('iot:Connect'), Condition: { [operator]: { 'aws:SourceIp': range } } }]).connect()
      .allowed
  assert.equal(from('IpAddress', '10.1.0.0/16'), true)
  assert.equal(from('IpAddress', ['192.168.0.0/16', '10.1.2.3']), true)
  assert.equal(from('IpAddress', '192.168.0.0/16'), false)
  assert.equal(from('NotIpAddress', '10.1.0.0/16'), false)
  assert.equal(from('StringLike', '10.*'), true)
  assert.equal(from('StringNotEquals', '10.1.2.3'), false)
})

test('the partition of the ARN follows the region', () => {
  const china = policyOf([allow('iot:*')], { region: 'cn-north-1' })
  assert.equal(china.connect().resource, 'arn:aws-cn:iot:cn-north-1:123456789012:client/device-1')
})

test('a document that breaks the grammar is refused, with the place', () => {
  const broken = [
    [{ Version: '2008-10-17', Statement: [allow('iot:*')] }, '.Version'],
    [{ Version: '2012-10-17', Statement: [] }, '.Statement'],
    [document({ ...allow('iot:*'), Effect: 'allow' }), '.Statement[0].Effect'],
    [document({ Effect: 'Allow', Resource: '*' }), '.Statement[0].Action'],
    [document({ ...allow('iot:*'), NotAction: 'iot:Publish' }), '.Statement[0].Action'],
    [document(allow('GetObject')), '.Statement[0].Action'],
    [document(allow('iot:Publish', 'topic/a')), '.Statement[0].Resource'],
    [document(allow('iot:Publish', [])), '.Statement[0].Resource'],
    [document({ ...allow('iot:*'), Ressource: '*' }), '.Statement[0].Ressource'],
    [
      document({ ...allow('iot:*'), Condition: { BinaryEquals: { 'aws:SourceIp': 'x' } } }),
      '.Statement[0].Condition.BinaryEquals',
    ],
    [
      document({ ...allow('iot:*'), Condition: { StringEquals: { 'aws:x': 'x' } } }),
      '.Statement[0].Condition.StringEquals["aws:x"]',
    ],
  ]
  for (const [value, path] of broken) {
    assert.throws(() => policyDocument.parsePolicyDocument(value), { name: 'PolicyError', path })
  }
})
