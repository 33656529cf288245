import assert from 'node:assert/strict'
import { test } from 'node:test'
import answers from '../dist/authorizer-answer.js'
import { allow, document, grant } from './support.mjs'

const { validateAnswer } = answers
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
  assert.deepEqual(validateAnswer(answer), { isAuthenticated: false })
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
  breaks('policy-document-size', of(sized(2049)), /policyDocuments\[0\] has 2049/)
})

test('a policy document that is none is refused, with the place', () => {
  breaks('policy-document-syntax', { ...grant(), policyDocuments: ['{'] }, /not JSON/)
  breaks(
    'policy-document-syntax',
    { ...grant(), policyDocuments: [document(allow('iot:*')), document({ Effect: 'Allow' })] },
    /policyDocuments\[1\]\.Statement\[0\]/,
  )
})
