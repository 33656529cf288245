import assert from 'node:assert/strict'
import { test } from 'node:test'
import { grant, start } from './support.mjs'

/** Calls a handler and returns what `onInvocation` was told, as it was at that time. */
async function told(t, handler) {
  const states = []
  const endpoint = await start(t, {
    authorizers: { Open: { handler, signingDisabled: true } },
    onInvocation: ({ authorizer, event, ...outcome }) =>
      states.push({ authorizer, user: event.protocolData.mqtt.username, ...outcome }),
  })
  await endpoint.testInvokeAuthorizer({ mqttContext: { username: 'me' } }).catch(() => {})
  return states
}

test('onInvocation is told of a call and of its answer', async (t) => {
  assert.deepEqual(await told(t, () => grant()), [
    { authorizer: 'Open', user: 'me' },
    { authorizer: 'Open', user: 'me', response: grant() },
  ])
})

test('onInvocation is told of an answer that is not valid', async (t) => {
  assert.deepEqual(await told(t, () => ({ wrong: true })), [
    { authorizer: 'Open', user: 'me' },
    { authorizer: 'Open', user: 'me', response: { wrong: true } },
  ])
})

test('onInvocation is told of an error', async (t) => {
  const error = new Error('gone')
  const [, last] = await told(t, () => {
    throw error
  })
  assert.equal(last.error.message, 'gone')
})
