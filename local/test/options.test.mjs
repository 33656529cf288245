import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startLocalEndpoint } from 'custom-authorizer-local'
import { grant, start } from './support.mjs'

const handler = () => grant()
const refuses = (options, message) =>
  assert.rejects(startLocalEndpoint(options), { name: 'TypeError', message })

test('missing options are named', async () => {
  await refuses(undefined, /^options are missing: startLocalEndpoint\(\{ authorizers/)
  await refuses({}, /^authorizers must be an object/)
  await refuses({ authorizers: { A: undefined } }, /^authorizers\["A"\] must be an object/)
})

test('an option that does not exist is named', async () => {
  await refuses({ authorizers: {}, prot: 1 }, /^there is no option "prot"; the options are: authorizers/)
})

for (const [member, option] of [
  ['signingDisable', 'signingDisabled'],
  ['tokenKey', 'tokenKeyName'],
  ['token_key_name', 'tokenKeyName'],
  ['publicKeys', 'tokenSigningPublicKeys'],
]) {
  test(`${member} of an authorizer is taken for a mistake`, async () => {
    await refuses(
      { authorizers: { A: { handler, [member]: true } } },
      `authorizers["A"]: there is no option "${member}"; did you mean ${option}?`,
    )
  })
}

test('where options are missing, the members that are none are named', async () => {
  await refuses(
    { authorizers: { A: { handler, unsigned: true } } },
    /or signingDisabled \(no options: unsigned\)$/,
  )
})

for (const [what, answer, shown, hidden] of [
  ['the user name', ({ username }) => username.split('?')[0], '"device-7"', /\*/],
  ['the client id', ({ clientId }) => clientId, '"client-7"', /\*/],
  [
    'the whole user name',
    ({ username }) => username,
    '"device-7?x-amz-customauthorizer-name=A&tok=***"',
    /secret/,
  ],
  ['a token cut short', ({ username }) => `${'-'.repeat(20)}${username}`, '***...', /secret/],
]) {
  test(`a wrong principalId that is ${what} is shown without secrets`, async (t) => {
    const endpoint = await start(t, {
      defaultAuthorizer: 'A',
      authorizers: {
        A: {
          handler: (event) => ({ ...grant(), principalId: answer(event.protocolData.mqtt) }),
          signingDisabled: true,
        },
      },
    })
    const username =
      'device-7?x-amz-customauthorizer-name=A&tok=secret' + (shown === '***...' ? '-'.repeat(80) : '')
    await assert.rejects(
      endpoint.testInvokeAuthorizer({ authorizerName: 'A', mqttContext: { username, clientId: 'client-7' } }),
      (error) => error.message.includes(shown) && !hidden.test(error.message),
    )
  })
}

for (const [limits, message] of [
  [1, 'limits must be an object, name -> number'],
  [{ handlerTimeoutMS: 60_000 }, 'there is no limit "handlerTimeoutMS"; did you mean handlerTimeoutMs?'],
  [{ speed: 1 }, /^there is no limit "speed"; the limits are: clientIdBytes, /],
  [{ handlerTimeoutMs: '5s' }, 'limits.handlerTimeoutMs must be a number from 1 to 2147483647; it is "5s"'],
  [
    { sessionExpirySeconds: -1 },
    'limits.sessionExpirySeconds must be a number from 0 to 4294967295; it is -1',
  ],
  [{ retainedBytes: NaN }, 'limits.retainedBytes must be a number from 0, or Infinity; it is NaN'],
]) {
  test(`limits that are ${JSON.stringify(limits)} are refused`, async () => {
    await refuses({ authorizers: { A: { handler, signingDisabled: true } }, limits }, message)
  })
}

test('a limit that is undefined is as good as none', async (t) => {
  const endpoint = await start(t, { limits: { handlerTimeoutMs: undefined } })
  assert.equal((await endpoint.testInvokeAuthorizer({})).isAuthenticated, true)
})
