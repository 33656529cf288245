import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startLocalEndpoint } from 'custom-authorizer-local'
import {
  allow,
  connectMqtt,
  connectPacket,
  connectRaw,
  createTokenKey,
  grant,
  lastOfType,
  openRaw,
  start,
  unsigned,
} from './support.mjs'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const key = createTokenKey()
const signed = { handler: () => grant(), tokenKeyName: 'tok', tokenSigningPublicKeys: { main: key.pem } }

/** Sends a CONNECT with this user name and returns what comes back. */
async function connectAs(t, endpoint, username, fields = {}) {
  const client = await openRaw(t, endpoint)
  return client.ask(connectPacket(5, { username, ...fields }))
}

/** Expects the CONNECT to be refused by this rule. */
async function expectRefusal(t, endpoint, username, rule) {
  const connack = await connectAs(t, endpoint, username)
  assert.equal(connack.reasonCode, 0x87)
  assert.equal(lastOfType(endpoint, 'connect-refused').rule, rule)
}

test('the event of an unsigned connect with user name and password', async (t) => {
  const endpoint = await start(t, { authorizers: { Open: unsigned() } })
  await connectMqtt(t, endpoint, {
    clientId: 'thermostat-7',
    username: 'me?x-amz-customauthorizer-name=Open',
    password: 'hunter2',
  })
  const { event, authorizer, response } = endpoint.invocations[0]
  const { connectionMetadata, ...rest } = event
  assert.match(connectionMetadata.id, UUID)
  assert.deepEqual(rest, {
    signatureVerified: false,
    protocols: ['tls', 'mqtt'],
    protocolData: {
      tls: { serverName: 'localhost' },
      mqtt: {
        username: 'me?x-amz-customauthorizer-name=Open',
        password: Buffer.from('hunter2').toString('base64'),
        clientId: 'thermostat-7',
      },
    },
  })
  assert.equal(authorizer, 'Open')
  assert.deepEqual(response, grant())
})

test('the event of a signed connect holds the token and no password', async (t) => {
  const endpoint = await start(t, { authorizers: { Signed: signed }, defaultAuthorizer: 'Signed' })
  const signature = encodeURIComponent(key.sign('9f3c2a'))
  const username = `?x-amz-customauthorizer-name=Signed&tok=9f3c2a&x-amz-customauthorizer-signature=${signature}`
  await connectMqtt(t, endpoint, { clientId: 'thermostat-7', username })
  const { connectionMetadata, ...rest } = endpoint.invocations[0].event
  assert.match(connectionMetadata.id, UUID)
  assert.deepEqual(rest, {
    token: '9f3c2a',
    signatureVerified: true,
    protocols: ['tls', 'mqtt'],
    protocolData: { tls: { serverName: 'localhost' }, mqtt: { username, clientId: 'thermostat-7' } },
  })
})

test('with signing disabled the token parameter is handed on unverified', async (t) => {
  const authorizer = { ...unsigned(), tokenKeyName: 'MyToken' }
  const endpoint = await start(t, { authorizers: { Open: authorizer } })
  await connectAs(t, endpoint, '?mytoken=abc')
  assert.equal(endpoint.invocations[0].event.token, 'abc')
  assert.equal(endpoint.invocations[0].event.signatureVerified, false)
})

test('a binary password arrives byte for byte', async (t) => {
  const endpoint = await start(t)
  const password = Buffer.from([0, 255, 1, 128])
  await connectAs(t, endpoint, 'u', { password })
  assert.equal(endpoint.invocations[0].event.protocolData.mqtt.password, password.toString('base64'))
})

test('each connection has an id of its own, the one that its events carry', async (t) => {
  const endpoint = await start(t)
  await connectRaw(t, endpoint, { clientId: 'a' })
  await connectRaw(t, endpoint, { clientId: 'b' })
  const [a, b] = endpoint.invocations.map(({ event }) => event.connectionMetadata.id)
  assert.notEqual(a, b)
  assert.equal(lastOfType(endpoint, 'connected').connectionId, b)
})

test('the handler is not called when the signature does not hold', async (t) => {
  const endpoint = await start(t, { authorizers: { Signed: signed }, defaultAuthorizer: 'Signed' })
  const good = encodeURIComponent(key.sign('good'))
  await expectRefusal(t, endpoint, `?tok=bad&x-amz-customauthorizer-signature=${good}`, 'signature-mismatch')
  await expectRefusal(t, endpoint, '?tok=good', 'signature-missing')
  await expectRefusal(t, endpoint, `?x-amz-customauthorizer-signature=${good}`, 'token-missing')
  assert.equal(endpoint.invocations.length, 0)
})

test('which authorizer: named, default, unknown, inactive, none', async (t) => {
  const authorizers = { Open: unsigned(), Other: unsigned(), Off: { ...unsigned(), status: 'INACTIVE' } }
  const endpoint = await start(t, { authorizers, defaultAuthorizer: 'Other' })
  await connectAs(t, endpoint, '?X-AMZ-CustomAuthorizer-Name=Open')
  await connectAs(t, endpoint, undefined)
  await expectRefusal(t, endpoint, '?x-amz-customauthorizer-name=Nobody', 'unknown-authorizer')
  await expectRefusal(t, endpoint, '?x-amz-customauthorizer-name=Off', 'authorizer-inactive')
  assert.deepEqual(
    endpoint.invocations.map(({ authorizer }) => authorizer),
    ['Open', 'Other'],
  )
  const withoutDefault = await start(t, { authorizers, defaultAuthorizer: undefined })
  await expectRefusal(t, withoutDefault, 'user', 'no-authorizer')
})

test('metrics after a second question mark hide the authorizer, as on IoT Core', async (t) => {
  const endpoint = await start(t, { authorizers: { A: unsigned() }, defaultAuthorizer: undefined })
  await expectRefusal(t, endpoint, 'u?x-amz-customauthorizer-name=A?SDK=JavaV2&Version=1', 'no-authorizer')
})

test('handlers answer by return value, promise or callback', async (t) => {
  const answer = grant()
  const authorizers = {
    Returned: { handler: () => answer, signingDisabled: true },
    Promised: { handler: async () => answer, signingDisabled: true },
    CalledBack: {
      handler: (_event, _context, callback) => void callback(null, answer),
      signingDisabled: true,
    },
  }
  const endpoint = await start(t, { authorizers, defaultAuthorizer: undefined })
  for (const name of Object.keys(authorizers)) {
    const connack = await connectAs(t, endpoint, `?x-amz-customauthorizer-name=${name}`)
    assert.equal(connack.reasonCode, 0, name)
  }
})

test('a handler that throws, rejects, calls back an error, answers nothing or nonsense refuses', async (t) => {
  const failing = {
    Throws: [
      () => {
        throw new Error('no database')
      },
      'handler-error',
    ],
    Rejects: [
      async () => {
        throw new Error('no database')
      },
      'handler-error',
    ],
    CallsBack: [(_event, _context, callback) => callback('Unauthorized'), 'handler-error'],
    Nothing: [() => {}, 'answer-not-an-object'],
    Nonsense: [() => ({ ...grant(), principalId: 'a-b' }), 'principal-id'],
    Denies: [() => ({ isAuthenticated: false }), 'not-authenticated'],
  }
  const authorizers = Object.fromEntries(
    Object.entries(failing).map(([name, [handler]]) => [name, { handler, signingDisabled: true }]),
  )
  const endpoint = await start(t, { authorizers, defaultAuthorizer: undefined })
  for (const [name, [, rule]] of Object.entries(failing)) {
    await expectRefusal(t, endpoint, `?x-amz-customauthorizer-name=${name}`, rule)
  }
  assert.equal(endpoint.invocations[0].error.message, 'no database')
  assert.deepEqual(endpoint.invocations[4].response.principalId, 'a-b')
  assert.equal(endpoint.invocations[4].error, undefined)
})

test('a handler that takes too long refuses, and its late answer is ignored', async (t) => {
  let answerLate
  const handler = () => new Promise((resolve) => (answerLate = resolve))
  const limits = { handlerTimeoutMs: 20 }
  const endpoint = await start(t, {
    authorizers: { Slow: { handler, signingDisabled: true } },
    defaultAuthorizer: 'Slow',
    limits,
  })
  await expectRefusal(t, endpoint, 'u', 'handler-timeout')
  answerLate(grant())
  await Promise.resolve()
  assert.equal(endpoint.invocations[0].response, undefined)
  assert.equal(endpoint.invocations[0].error.name, 'HandlerTimeout')
})

test('a handler gets its own copy of the event, and a Lambda context', async (t) => {
  let seen
  const handler = (event, context) => {
    seen = context
    event.protocolData.mqtt.clientId = 'changed'
    return grant()
  }
  const endpoint = await start(t, { authorizers: { Open: { handler, signingDisabled: true } } })
  await connectRaw(t, endpoint)
  assert.equal(endpoint.invocations[0].event.protocolData.mqtt.clientId, 'raw')
  assert.equal(seen.invokedFunctionArn, 'arn:aws:lambda:us-east-1:123456789012:function:Open')
  assert.ok(seen.getRemainingTimeInMillis() <= 5000)
})

test('a client that leaves while its authorizer thinks does not get a session', async (t) => {
  const asked = withResolvers()
  const answer = withResolvers()
  const handler = () => {
    asked.resolve()
    return answer.promise
  }
  const endpoint = await start(t, { authorizers: { Open: { handler, signingDisabled: true } } })
  const client = await openRaw(t, endpoint)
  client.send(connectPacket(5))
  await asked.promise
  client.socket.destroy()
  answer.resolve(grant())
  await endpoint.close()
  assert.notEqual(lastOfType(endpoint, 'connect-refused') ?? lastOfType(endpoint, 'disconnected'), undefined)
})

test('packets that arrive while the authorizer thinks are answered afterwards', async (t) => {
  const asked = withResolvers()
  const answer = withResolvers()
  const handler = () => {
    asked.resolve()
    return answer.promise
  }
  const endpoint = await start(t, { authorizers: { Open: { handler, signingDisabled: true } } })
  const client = await openRaw(t, endpoint)
  client.send(connectPacket(5))
  client.send({ cmd: 'pingreq' })
  await asked.promise
  answer.resolve(grant())
  assert.equal((await client.next()).cmd, 'connack')
  assert.equal((await client.next()).cmd, 'pingresp')
})

test('no event holds a password, a token or a signature', async (t) => {
  const handler = (event) => {
    throw new Error(
      `cannot look up ${event.token} ${Buffer.from(event.protocolData.mqtt.password, 'base64')}`,
    )
  }
  const endpoint = await start(t, {
    authorizers: { Signed: { ...signed, handler } },
    defaultAuthorizer: 'Signed',
    profile: 'friendly',
  })
  const signature = key.sign('t0k3n-value')
  const username = `?tok=t0k3n-value&x-amz-customauthorizer-signature=${encodeURIComponent(signature)}`
  const connack = await connectAs(t, endpoint, username, { password: 'pa55word' })
  const text = JSON.stringify([endpoint.events, connack])
  assert.match(text, /cannot look up \*\*\* \*\*\*/)
  for (const secret of ['t0k3n-value', 'pa55word', signature]) assert.ok(!text.includes(secret), secret)
  assert.match(JSON.stringify(endpoint.invocations), /t0k3n-value/)
})

test('the stack of a handler that throws is in the event, without secrets', async (t) => {
  const handler = function lookUp({ protocolData: { mqtt } }) {
    throw new TypeError(`no ${Buffer.from(mqtt.password, 'base64')}`)
  }
  const endpoint = await start(t, { authorizers: { Open: { handler, signingDisabled: true } } })
  await connectAs(t, endpoint, 'u', { password: 'pa55word' })
  assert.match(lastOfType(endpoint, 'authorizer-answered').stack, /^TypeError: no \*\*\*\n +at .*lookUp/)
})

test('a signature over a token that was not percent-encoded is told apart', async (t) => {
  const endpoint = await start(t, { authorizers: { Signed: signed }, defaultAuthorizer: 'Signed' })
  const signature = encodeURIComponent(key.sign('a+b'))
  const username = `?${signed.tokenKeyName}=a+b&x-amz-customauthorizer-signature=${signature}`
  await (await openRaw(t, endpoint)).ask(connectPacket(5, { username }))
  const { rule, message } = lastOfType(endpoint, 'connect-refused')
  assert.equal(rule, 'signature-mismatch')
  assert.match(message, /percent-encode the token/)
})

test('testInvokeAuthorizer takes the parts of a WebSocket request', async (t) => {
  const endpoint = await start(t)
  await endpoint.testInvokeAuthorizer({
    httpContext: { headers: { 'X-Key': '1' }, queryString: '?a=b' },
    tlsContext: { serverName: 'localhost' },
    mqttContext: { clientId: 'c' },
  })
  const { protocols, protocolData } = endpoint.invocations[0].event
  assert.deepEqual(protocols, ['tls', 'http', 'mqtt'])
  assert.deepEqual(protocolData, {
    tls: { serverName: 'localhost' },
    http: { headers: { 'x-key': '1' }, queryString: '?a=b' },
    mqtt: { clientId: 'c' },
  })
})

test('testInvokeAuthorizer asks an authorizer without a connection', async (t) => {
  const endpoint = await start(t, {
    authorizers: { Signed: signed, Open: unsigned() },
    defaultAuthorizer: 'Open',
  })
  const password = Buffer.from('pw').toString('base64')
  const result = await endpoint.testInvokeAuthorizer({
    mqttContext: { username: 'u', password, clientId: 'c' },
  })
  assert.equal(result.principalId, 'tester')
  assert.deepEqual(JSON.parse(result.policyDocuments[0]), {
    Version: '2012-10-17',
    Statement: [allow('iot:*')],
  })
  const { connectionMetadata, ...event } = endpoint.invocations[0].event
  assert.match(connectionMetadata.id, UUID)
  assert.deepEqual(event, {
    signatureVerified: false,
    protocols: ['mqtt'],
    protocolData: { mqtt: { username: 'u', password, clientId: 'c' } },
  })
  const token = { authorizerName: 'Signed', token: 'abc', tokenSignature: key.sign('abc') }
  assert.equal((await endpoint.testInvokeAuthorizer(token)).isAuthenticated, true)
  await assert.rejects(endpoint.testInvokeAuthorizer({ ...token, token: 'abd' }), {
    rule: 'signature-mismatch',
  })
})

test('testInvokeAuthorizer gives all that a denying answer holds', async (t) => {
  const denial = {
    isAuthenticated: false,
    principalId: 'nobody',
    disconnectAfterInSeconds: 0,
    refreshAfterInSeconds: 0,
    policyDocuments: [],
  }
  const endpoint = await start(t, { authorizers: { Open: unsigned(denial) } })
  assert.deepEqual(await endpoint.testInvokeAuthorizer({ token: 'abc' }), denial)
})

for (const [what, invocation, message] of [
  ['without an object', undefined, /the invocation must be an object/],
  ['with an unknown part', { tlscontext: {} }, /the invocation has no member "tlscontext"/],
  ['with an unknown member', { mqttContext: { userName: 'u' } }, /mqttContext has no member "userName"/],
  ['with a password that is no base64', { mqttContext: { password: 'hunter-2!' } }, /must be base64/],
]) {
  test(`testInvokeAuthorizer ${what} calls nobody`, async (t) => {
    const endpoint = await start(t)
    await assert.rejects(endpoint.testInvokeAuthorizer(invocation), { name: 'TypeError', message })
    assert.equal(endpoint.invocations.length, 0)
  })
}

test('authorizers that IoT Core would not create are refused at the start', async () => {
  const starts = (authorizers, options) => startLocalEndpoint({ authorizers, ...options })
  const handler = () => grant()
  await assert.rejects(starts({ A: { handler } }), /needs tokenKeyName/)
  await assert.rejects(starts({ 'a b': unsigned() }), /a name is/)
  await assert.rejects(starts({ A: { signingDisabled: true } }), /needs one of handler/)
  await assert.rejects(starts({ A: { ...signed, tokenKeyName: 'a b' } }), /tokenKeyName/)
  await assert.rejects(starts({ A: { ...signed, tokenSigningPublicKeys: { k: 'PEM' } } }), /BEGIN PUBLIC KEY/)
  const small = createTokenKey(1024).pem
  await assert.rejects(starts({ A: { ...signed, tokenSigningPublicKeys: { k: small } } }), /2048 bits/)
  await assert.rejects(starts({ A: unsigned() }, { defaultAuthorizer: 'B' }), /no authorizer "B"/)
  await assert.rejects(starts({ A: unsigned() }, { profile: 'strict' }), /profile/)
})

function withResolvers() {
  const result = {}
  result.promise = new Promise((resolve) => (result.resolve = resolve))
  return result
}
