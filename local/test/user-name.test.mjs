import assert from 'node:assert/strict'
import { test } from 'node:test'
import userName from '../dist/authorizer/user-name.js'

const parse = (text) => {
  const { base, parameters } = userName.parseUserName(text)
  return { base, parameters: Object.fromEntries(parameters) }
}

test('a user name without a question mark is all base', () => {
  assert.deepEqual(parse('thermostat-7'), { base: 'thermostat-7', parameters: {} })
})

test('parameters follow the question mark, and an empty base is normal', () => {
  assert.deepEqual(parse('?x-amz-customauthorizer-name=FleetAuth&tok=9f3c2a'), {
    base: '',
    parameters: { 'x-amz-customauthorizer-name': 'FleetAuth', tok: '9f3c2a' },
  })
})

test('parameters follow the last question mark, so SDK metrics glued on hide the authorizer', () => {
  const { base, parameters } = parse('user?x-amz-customauthorizer-name=A?SDK=JavaV2&Version=1')
  assert.equal(base, 'user?x-amz-customauthorizer-name=A')
  assert.deepEqual(parameters, { sdk: 'JavaV2', version: '1' })
})

test('a parameter is split at its first equals sign', () => {
  assert.equal(parse('?tok=YWJj==').parameters.tok, 'YWJj==')
  assert.equal(parse('?Metadata=(a=b;c=d)').parameters.metadata, '(a=b;c=d)')
})

test('keys are compared without regard to case', () => {
  assert.equal(parse('?X-Amz-CustomAuthorizer-Name=A').parameters['x-amz-customauthorizer-name'], 'A')
})

test('values are decoded once, and a plus sign is a space', () => {
  assert.equal(parse('?tok=a%2Fb%3D').parameters.tok, 'a/b=')
  assert.equal(parse('?tok=%253D').parameters.tok, '%3D')
  assert.equal(parse('?tok=a+b').parameters.tok, 'a b')
})

test('what is no valid encoding stays as it is', () => {
  assert.equal(parse('?tok=100%').parameters.tok, '100%')
  assert.equal(parse('?tok=%ff').parameters.tok, '%ff')
})

test('of two equal keys the first one counts, and keys without a value are empty', () => {
  assert.deepEqual(parse('?a=1&a=2&b&&=x').parameters, { a: '1', b: '', '': 'x' })
})
