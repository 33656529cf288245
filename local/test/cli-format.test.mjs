import assert from 'node:assert/strict'
import { test } from 'node:test'
import { banner } from '../dist/cli/banner.js'
import { readEvent } from '../dist/cli/log-format.js'
import { createPaint } from '../dist/cli/paint.js'

const base = { time: 0, connectionId: 'c', clientId: 'device-1' }
const decision = {
  allowed: true,
  action: 'iot:Connect',
  resource: 'arn:x',
  reason: 'allow',
  statement: { document: 0, index: 2 },
}

test('an event of a type without words of its own is shown with all its members', () => {
  const event = { ...base, type: 'something-new', count: 3, name: 'A', list: [1] }
  assert.deepEqual(readEvent(event), {
    tone: 'plain',
    line: 'something new',
    details: ['count: 3', 'name: A', 'list: [1]'],
  })
})

test('a decision in such an event is put into words', () => {
  const { details } = readEvent({ ...base, type: 'something-new', decision })
  assert.match(
    details[0],
    /^decision: iot:Connect on arn:x is allowed by policyDocuments\[0\]\.Statement\[2\]/,
  )
})

test('a refresh tells who was asked and what the new policy says', () => {
  const event = { authorizerName: 'A', principalId: 'p', refreshAfterInSeconds: 300, decision }
  assert.deepEqual(readEvent({ ...base, type: 'refreshed', ...event }), {
    tone: 'good',
    line: 'authorizer A was asked again: principal p',
    details: ['iot:Connect on arn:x is allowed by policyDocuments[0].Statement[2]', 'refresh after 300 s'],
  })
})

test('a member that a known type has no words for is shown too', () => {
  const { details } = readEvent({ ...base, type: 'unsubscribe', filter: 'a/b', transport: 'websocket' })
  assert.deepEqual(details, ['transport: websocket'])
})

test('a type that is called like a member of every object is shown too', () => {
  assert.equal(readEvent({ ...base, type: 'constructor' }).line, 'constructor')
})

// oxlint-disable-next-line no-control-regex -- they are what is looked for.
const ANSI = /\u001b\[/
for (const [what, args, colored] of [
  ['on a terminal', [true, true, {}], true],
  ['in a pipe', [true, false, {}], false],
  ['with --no-color', [false, true, {}], false],
  ['with NO_COLOR', [true, true, { NO_COLOR: '1' }], false],
]) {
  test(`${what} there are ${colored ? '' : 'no '}colours`, () => {
    assert.equal(ANSI.test(createPaint(...args)('bad', 'text')), colored)
  })
}

for (const [what, options, name] of [
  ['on all addresses', { host: '0.0.0.0', hostNames: ['box.local'] }, 'localhost'],
  [
    'on an address that is not loopback',
    { host: '192.0.2.1', hostNames: ['192.0.2.1', 'box.local'] },
    'box.local',
  ],
]) {
  test(`${what}, clients are told to connect to ${name}`, () => {
    const endpoint = { endpoint: 'localhost', port: 8443 }
    const authorizers = { A: { module: './a.mjs', signingDisabled: true } }
    const start = { endpoint, options: { ...options, authorizers }, assumedUnsigned: [], caFile: 'ca.pem' }
    assert.match(
      banner(start, (_tone, text) => text),
      new RegExp(`mosquitto_pub -h ${name} -p 8443 `),
    )
  })
}

test('a CA file with a blank and a quote in its path is quoted for the shell', () => {
  const endpoint = { endpoint: 'localhost', port: 8443 }
  const options = { authorizers: { A: { module: './a.mjs', signingDisabled: true } } }
  const start = { endpoint, options, assumedUnsigned: [], caFile: "it's my/ca.pem" }
  assert.ok(banner(start, (_tone, text) => text).includes(`--ca_file 'it'\\''s my/ca.pem' `))
})

test('a warning about an address that is not loopback is shown in full', () => {
  const message = 'the endpoint listens on 0.0.0.0, which is not loopback'
  assert.deepEqual(readEvent({ type: 'warning', time: 0, message }).details[0], message)
})
