import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { test } from 'node:test'
import signature from '../dist/authorizer/signature.js'
import userName from '../dist/authorizer/user-name.js'
import { createTokenKey } from './support.mjs'

const key = createTokenKey()
const other = createTokenKey()
const token = 'token-1'
const keys = new Map([['first', createPublicKey(key.pem)]])
const check = (value, text = token, among = keys) => signature.checkSignature(text, value, among)

/** Base64 of RSA signatures holds "+" and "/" nearly always; this finds one for sure. */
function signatureWith(char) {
  for (let n = 0; ; n++) {
    const value = key.sign(`token-${n}`)
    if (value.includes(char)) return { token: `token-${n}`, value }
  }
}

/** What arrives of a signature that was put into a user name like this. */
const arrive = (text) => userName.parseUserName(`?s=${text}`).parameters.get('s')

test('a signature of exactly the token is verified', () => {
  assert.deepEqual(check(key.sign(token)), { verified: true, keyName: 'first' })
})

test('one changed byte of the token fails', () => {
  assert.equal(check(key.sign(token), 'token-2').rule, 'signature-mismatch')
  assert.equal(check(key.sign(token), `${token}\n`).rule, 'signature-mismatch')
})

test('a percent-encoded signature arrives whole, with or without its slashes encoded', () => {
  const slashed = signatureWith('/')
  assert.equal(check(arrive(encodeURIComponent(slashed.value)), slashed.token).verified, true)
  assert.equal(
    check(arrive(encodeURIComponent(slashed.value).replaceAll('%2F', '/')), slashed.token).verified,
    true,
  )
})

test('base64url instead of base64 fails', () => {
  const { token: text, value } = signatureWith('/')
  const result = check(value.replaceAll('+', '-').replaceAll('/', '_'), text)
  assert.equal(result.rule, 'signature-not-base64')
  assert.match(result.message, /base64url/)
})

test('lost padding fails', () => {
  const result = check(key.sign(token).replaceAll('=', ''))
  assert.equal(result.rule, 'signature-not-base64')
  assert.match(result.message, /padding/)
})

test('a plus sign that was not encoded arrives as a space and fails', () => {
  const { token: text, value } = signatureWith('+')
  const result = check(arrive(value), text)
  assert.equal(result.rule, 'signature-not-base64')
  assert.match(result.message, /%2B/)
})

test('a signature that was encoded twice fails', () => {
  const result = check(arrive(encodeURIComponent(encodeURIComponent(key.sign(token)))))
  assert.equal(result.rule, 'signature-not-base64')
  assert.match(result.message, /twice/)
})

test('a signature by a key that is not listed fails', () => {
  assert.equal(check(other.sign(token)).rule, 'signature-mismatch')
})

test('an authorizer with two keys accepts a signature by either', () => {
  const both = new Map([...keys, ['second', createPublicKey(other.pem)]])
  assert.equal(check(key.sign(token), token, both).keyName, 'first')
  assert.equal(check(other.sign(token), token, both).keyName, 'second')
})

test('a missing or an empty signature fails', () => {
  assert.equal(check(undefined).rule, 'signature-missing')
  assert.equal(check('').rule, 'signature-missing')
})
