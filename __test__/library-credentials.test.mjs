import assert from 'node:assert/strict'
import { createPrivateKey, createVerify } from 'node:crypto'
import { after, beforeEach, test } from 'node:test'
import { startLocalEndpoint } from 'custom-authorizer-local'
import { connectWithCustomAuthorizer, signToken } from '../dist/client.js'
import { allow, passwordAuthorizer, signingAuthorizer } from './support/authorizers.mjs'

const NAME = 'x-amz-customauthorizer-name'
const SIGNATURE = 'x-amz-customauthorizer-signature'
const password = passwordAuthorizer('user', 'sesame')
const signing = signingAuthorizer('token')
const anyone = {
  handler: async (event) => (anyone.seen.push(event), allow()),
  signingDisabled: true,
  seen: [],
}
const { token, signature } = signing.signedToken()

const local = await startLocalEndpoint({
  authorizers: { Password: password, Signing: signing, Anyone: anyone },
  defaultAuthorizer: 'Anyone',
  limits: { connectsPerSecond: Infinity, publishesPerSecond: Infinity, bytesPerSecond: Infinity },
})
after(() => local.close())
const where = { endpoint: local.endpoint, port: local.port, tls: { caFile: local.caFile } }
beforeEach(() => {
  for (const { seen } of [password, signing, anyone]) seen.length = 0
})

/** Connects, publishes, disconnects; gives the event that the authorizer got. */
async function seenBy(authorizer, options) {
  const connection = await connectWithCustomAuthorizer({ ...where, ...options })
  await connection.publish('a', 'x')
  await connection.disconnect()
  assert.equal(authorizer.seen.length, 1)
  return authorizer.seen[0]
}

for (const mqttVersion of [3, 5]) {
  test(`MQTT ${mqttVersion}: user name and password, without signing`, async () => {
    const event = await seenBy(password, {
      mqttVersion,
      clientId: 'me',
      authorizerName: 'Password',
      username: 'user',
      password: 'sesame',
    })
    assert.deepEqual(event.protocols, ['tls', 'mqtt'])
    assert.equal(event.signatureVerified, false)
    assert.equal(event.token, undefined)
    assert.equal(event.protocolData.tls.serverName, 'localhost')
    assert.deepEqual(event.protocolData.mqtt, {
      username: `user?${NAME}=Password`,
      password: Buffer.from('sesame').toString('base64'),
      clientId: 'me',
    })
  })

  test(`MQTT ${mqttVersion}: a signed token`, async () => {
    const event = await seenBy(signing, {
      mqttVersion,
      authorizerName: 'Signing',
      tokenKeyName: 'token',
      tokenValue: token,
      tokenSignature: signature,
    })
    assert.equal(event.signatureVerified, true)
    assert.equal(event.token, token)
    assert.equal(
      event.protocolData.mqtt.username,
      `?${NAME}=Signing&${SIGNATURE}=${encodeURIComponent(signature)}&token=${token}`,
    )
  })
}

for (const [form, given] of [
  ['percent-encoded', encodeURIComponent(signature)],
  ['in base64url', signature.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')],
]) {
  test(`the signature ${form}`, async () => {
    const event = await seenBy(signing, {
      authorizerName: 'Signing',
      tokenKeyName: 'token',
      tokenValue: token,
      tokenSignature: given,
    })
    assert.equal(event.signatureVerified, true)
  })
}

const key = createPrivateKey(signing.privateKey)
for (const [form, tokenSigningKey] of [
  ['PEM, PKCS#8', signing.privateKey],
  ['PEM, PKCS#1', key.export({ type: 'pkcs1', format: 'pem' })],
  ['PEM as bytes', Buffer.from(signing.privateKey)],
  ['DER', key.export({ type: 'pkcs8', format: 'der' })],
  ['a KeyObject', key],
]) {
  test(`a token that is signed here, the key as ${form}`, async () => {
    const event = await seenBy(signing, {
      authorizerName: 'Signing',
      tokenKeyName: 'token',
      tokenValue: 'a token&with=specials',
      tokenSigningKey,
    })
    assert.equal(event.signatureVerified, true)
    assert.equal(event.token, 'a token&with=specials')
  })

  test(`signToken with the key as ${form}`, () => {
    const signed = signToken('tökén', tokenSigningKey)
    const verify = createVerify('RSA-SHA256').update('tökén')
    assert.ok(verify.verify(signing.tokenSigningPublicKeys.first, signed, 'base64'))
    assert.equal(Buffer.from(signed, 'base64').toString('base64'), signed)
  })
}

for (const [what, args] of [
  ['an empty token', ['', signing.privateKey]],
  ['a token that is no string', [Buffer.from('token'), signing.privateKey]],
  ['no key', ['token', undefined]],
  ['an empty key', ['token', '']],
  ['text that is no key', ['token', 'secret']],
  ['a public key', ['token', signing.tokenSigningPublicKeys.first]],
]) {
  test(`signToken throws for ${what}`, () => {
    assert.throws(() => signToken(...args), { name: 'MqttError', code: 'ERR_INVALID_OPTION' })
  })
}

test('without a name the default authorizer decides, and nothing is added to the user name', async () => {
  const event = await seenBy(anyone, { username: 'someone', password: 'x' })
  assert.equal(event.protocolData.mqtt.username, 'someone')
})

test('without anything there is no user name at all', async () => {
  const event = await seenBy(anyone, { clientId: 'me' })
  assert.deepEqual(event.protocolData.mqtt, { clientId: 'me' })
})

test('a binary password arrives byte for byte', async () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, index) => index)
  const event = await seenBy(anyone, { username: 'u', password: bytes })
  assert.deepEqual(Buffer.from(event.protocolData.mqtt.password, 'base64'), Buffer.from(bytes))
})

test('a password that is a view of a larger buffer arrives alone', async () => {
  const event = await seenBy(anyone, { username: 'u', password: Buffer.from('[secret]').subarray(1, 7) })
  assert.equal(Buffer.from(event.protocolData.mqtt.password, 'base64').toString(), 'secret')
})

test("the user name's own query is kept", async () => {
  const event = await seenBy(anyone, { authorizerName: 'Anyone', username: 'u?SDK=mine&a=b=c' })
  assert.equal(event.protocolData.mqtt.username, `u?SDK=mine&a=b=c&${NAME}=Anyone`)
})

test('a user name that names the same authorizer is accepted', async () => {
  const event = await seenBy(anyone, { authorizerName: 'Anyone', username: `u?${NAME}=Anyone` })
  assert.equal(event.protocolData.mqtt.username, `u?${NAME}=Anyone`)
})

test('empty strings mean absent', async () => {
  const event = await seenBy(anyone, {
    clientId: 'me',
    authorizerName: '',
    username: '',
    password: '',
    tokenKeyName: '',
    tokenValue: '',
    tokenSignature: '',
    tokenSigningKey: '',
  })
  assert.deepEqual(event.protocolData.mqtt, { clientId: 'me' })
})

test('the client id that was made is the one that the server sees', async () => {
  const connection = await connectWithCustomAuthorizer(where)
  assert.match(
    connection.clientId,
    /^client-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
  )
  assert.equal(anyone.seen[0].protocolData.mqtt.clientId, connection.clientId)
  await connection.disconnect()
})

test('the policy of the authorizer holds: what it does not allow is rejected', async () => {
  const answer = allow(['iot:Connect', 'iot:Publish'])
  const restricted = await startLocalEndpoint({
    authorizers: { Restricted: passwordAuthorizer('u', 'p', answer) },
    profile: 'friendly',
  })
  try {
    const connection = await connectWithCustomAuthorizer({
      endpoint: restricted.endpoint,
      port: restricted.port,
      tls: { ca: restricted.ca },
      authorizerName: 'Restricted',
      username: 'u',
      password: 'p',
    })
    await connection.publish('a', 'x')
    await assert.rejects(connection.subscribe('a'), { code: 'ERR_SUBSCRIBE_REJECTED', reasonCode: 0x87 })
    await connection.disconnect()
  } finally {
    await restricted.close()
  }
})

test('messages go from one client to another', async () => {
  const [sender, receiver] = await Promise.all([
    connectWithCustomAuthorizer({ ...where, mqttVersion: 3 }),
    connectWithCustomAuthorizer({ ...where, mqttVersion: 5 }),
  ])
  const reader = (await receiver.subscribe('room/+'))[Symbol.asyncIterator]()
  await sender.publish('room/1', { hello: 'there' })
  const { value } = await reader.next()
  assert.equal(value.topic, 'room/1')
  assert.deepEqual(JSON.parse(value.payload.toString()), { hello: 'there' })
  await Promise.all([sender.disconnect(), receiver.disconnect()])
})

test('a second client with the same id ends the first, which learns why', async () => {
  const first = await connectWithCustomAuthorizer({ ...where, clientId: 'twice', reconnect: false })
  const second = await connectWithCustomAuthorizer({ ...where, clientId: 'twice' })
  assert.equal((await first.closed).error.code, 'ERR_SESSION_TAKEN_OVER')
  await second.disconnect()
})

test('a loop that publishes each of 10,000 messages at QoS 1 ends, and none is lost', async () => {
  const COUNT = 10_000
  const limits = { publishesPerSecond: false, bytesPerSecond: false }
  const loop = await connectWithCustomAuthorizer({ ...where, limits, receive: { maxMessages: 5 } })
  const other = await connectWithCustomAuthorizer({ ...where, limits })
  const answers = []
  let answered
  const all = new Promise((resolve) => (answered = resolve))
  await other.subscribe('answer', {}, ({ payload }) => {
    if (answers.push(Number(payload.toString())) === COUNT) answered()
  })
  const subscription = await loop.subscribe('question')
  const asking = Promise.all(
    Array.from({ length: COUNT }, (_, index) => other.publish('question', String(index))),
  )
  let seen = 0
  for await (const { payload } of subscription) {
    await loop.publish('answer', payload)
    if (++seen === COUNT) break
  }
  await Promise.all([asking, all])
  assert.deepEqual(
    answers,
    Array.from({ length: COUNT }, (_, index) => index),
  )
  await Promise.all([loop.disconnect(), other.disconnect()])
})
