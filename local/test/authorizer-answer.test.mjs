import assert from 'node:assert/strict'
import { test } from 'node:test'
import answers from '../dist/authorizer/authorizer-answer.js'
import { allow, document, grant } from './support.mjs'

const { answerWarnings, validateAnswer } = answers
const valid = document(allow('iot:*'))
const withStatement = (members) => document({ ...allow('iot:*'), ...members })
const breaks = (rule, answer, message = /./) =>
  assert.throws(() => validateAnswer(answer), { name: 'InvalidAnswer', rule, message })

test('a complete answer is accepted, further members included', () => {
  const answer = validateAnswer({ ...grant(), context: { anything: 1 } })
  assert.equal(answer.principalId, 'tester')
  assert.equal(answer.policyDocuments.length, 1)
})

test('policy documents may be objects or JSON strings', () => {
  const text = JSON.stringify(document(allow('iot:*')), null, 4)
  assert.equal(validateAnswer({ ...grant(), policyDocuments: [text] }).policyDocuments.length, 1)
})

test('an answer that denies needs nothing else to be valid', () => {
  const answer = {
    isAuthenticated: false,
    principalId: '',
    disconnectAfterInSeconds: 0,
    policyDocuments: 'x',
  }
  assert.deepEqual(validateAnswer(answer), {
    isAuthenticated: false,
    principalId: '',
    disconnectAfterInSeconds: 0,
  })
})

test('something that is no object is refused', () => {
  breaks('answer-not-an-object', null, /every path of the handler/)
  breaks('answer-not-an-object', 'yes')
  breaks('answer-not-an-object', [])
})

test('isAuthenticated must be a boolean', () => {
  breaks('is-authenticated', {}, /missing/)
  breaks('is-authenticated', { ...grant(), isAuthenticated: 'true' })
})

test('principalId is 1 to 128 letters and digits', () => {
  for (const principalId of [undefined, '', 'a-b', 'a:b', 'a_b', 'é', 7, 'x'.repeat(129)]) {
    breaks('principal-id', { ...grant(), principalId })
  }
  assert.equal(validateAnswer({ ...grant(), principalId: 'x'.repeat(128) }).isAuthenticated, true)
})

test('the timers are whole numbers from 300 to 86400', () => {
  for (const value of [undefined, 299, 86_401, 300.5, '300', 0]) {
    breaks('disconnect-after', { ...grant(), disconnectAfterInSeconds: value })
    breaks('refresh-after', { ...grant(), refreshAfterInSeconds: value })
  }
  const extremes = { ...grant(), disconnectAfterInSeconds: 86_400, refreshAfterInSeconds: 300 }
  assert.equal(validateAnswer(extremes).disconnectAfterInSeconds, 86_400)
})

test('there are at most 10 policy documents', () => {
  const documents = (count) => ({
    ...grant(),
    policyDocuments: Array.from({ length: count }, () => document(allow('iot:*'))),
  })
  assert.equal(validateAnswer(documents(10)).policyDocuments.length, 10)
  breaks('policy-document-count', documents(11), /has 11/)
  breaks('policy-documents', { ...grant(), policyDocuments: document(allow('iot:*')) })
})

test('a policy document has at most 2048 characters, white space not counted', () => {
  const sized = (length) => {
    const empty = JSON.stringify(document({ Sid: '', ...allow('iot:*') })).length
    return document({ Sid: 'x'.repeat(length - empty), ...allow('iot:*') })
  }
  const of = (value) => ({ ...grant(), policyDocuments: [value] })
  assert.equal(validateAnswer(of(sized(2048))).isAuthenticated, true)
  assert.equal(validateAnswer(of(JSON.stringify(sized(2048), null, 8))).isAuthenticated, true)
  const spaced = sized(2048)
  spaced.Statement[0].Sid += ' '.repeat(100)
  assert.equal(validateAnswer(of(spaced)).isAuthenticated, true)
  breaks('policy-document-size', of(sized(2049)), /policyDocuments\[0\] has 2049/)
})

for (const [rule, broken, message] of [
  ['policy-document-json', '{', /policyDocuments\[1\] is a string that is not JSON/],
  ['policy-document-json', 7, /policyDocuments\[1\]: must be an object/],
  ['policy-document-version', { ...valid, Version: '2008-10-17' }, /Version: must be "2012-10-17", it is/],
  ['policy-document-version', { Statement: valid.Statement }, /it is missing/],
  ['policy-document-statement', { ...valid, Statement: [] }, /at least one statement/],
  ['policy-document-statement', { ...valid, Statement: ['x'] }, /Statement\[0\]: must be an object/],
  ['policy-document-effect', withStatement({ Effect: 'allow' }), /Statement\[0\]\.Effect: must be "Allow"/],
  ['policy-document-action', withStatement({ Action: 'GetObject' }), /"GetObject" is not/],
  ['policy-document-action', withStatement({ NotAction: 'iot:Publish' }), /has both/],
  ['policy-document-resource', withStatement({ Resource: 'topic/a' }), /"topic\/a" is neither/],
  ['policy-document-resource', withStatement({ NotResource: '*' }), /has both/],
  ['policy-document-condition', withStatement({ Condition: { Nope: { a: 'b' } } }), /Condition\.Nope/],
  ['policy-document-element', withStatement({ Ressource: '*' }), /Statement\[0\]\.Ressource/],
  ['policy-document-element', { ...valid, Statements: [] }, /policyDocuments\[1\]\.Statements/],
]) {
  test(`${rule} names the place: ${JSON.stringify(broken)}`, () => {
    breaks(rule, { ...grant(), policyDocuments: [valid, broken] }, message)
  })
}

test('a statement without Action is told apart from one with both', () => {
  const statement = { Effect: 'Allow', Resource: '*' }
  breaks('policy-document-action', { ...grant(), policyDocuments: [document(statement)] }, /has neither/)
})

test('a member that is missing is looked for under a similar name', () => {
  const { refreshAfterInSeconds, ...rest } = grant()
  const misnamed = { ...rest, refreshAfterSeconds: refreshAfterInSeconds }
  breaks('refresh-after', misnamed, /missing; there is "refreshAfterSeconds", is that what is meant\?/)
})

test('an answer for API Gateway is recognized', () => {
  breaks('is-authenticated', { principalId: 'a', policyDocument: {} }, /API Gateway/)
})

test('with a client certificate, principalId is its id and policyDocuments may be missing', () => {
  const { policyDocuments: _, ...rest } = grant()
  const answer = validateAnswer({ ...rest, principalId: 'abc123' }, 'abc123')
  assert.deepEqual(answer.policyDocuments, [])
  assert.throws(() => validateAnswer(grant(), 'abc123'), { rule: 'principal-id-certificate' })
})

test('members that IoT Core ignores are worth a warning', () => {
  assert.deepEqual(answerWarnings(grant()), [])
  assert.match(answerWarnings({ ...grant(), context: {} })[0], /ignores .*"context"/)
})

test('a grant that allows nothing is worth a warning', () => {
  assert.match(answerWarnings({ ...grant(), policyDocuments: [] })[0], /nothing is allowed/)
})

test('a refresh after the end is worth a warning', () => {
  assert.match(answerWarnings({ ...grant(), refreshAfterInSeconds: 86_400 })[0], /never comes/)
})
