import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  allow,
  ARN,
  connectPacket,
  connectRaw,
  lastOfType,
  openRaw,
  publish,
  start,
  startWith,
  subscribe,
  unsigned,
} from './support.mjs'
import { connectMqttJs } from './websocket-support.mjs'

const DENYING = { authorizers: { Open: unsigned({ isAuthenticated: false }) } }
const ONLY_CONNECT = [allow('iot:Connect')]

async function connackOf(t, protocolVersion, options) {
  const endpoint = await start(t, { ...DENYING, ...options })
  const client = await openRaw(t, endpoint, { protocolVersion })
  return client.ask(connectPacket(protocolVersion))
}

for (const code of [5, 7]) {
  test(`refusedConnect311: ${code} is the CONNACK of a refused 3.1.1 client`, async (t) => {
    assert.equal((await connackOf(t, 4, { choices: { refusedConnect311: code } })).returnCode, code)
  })
}

test('refusedConnect311: close closes without CONNACK in the profile friendly too', async (t) => {
  const options = { profile: 'friendly', choices: { refusedConnect311: 'close' } }
  assert.equal(await connackOf(t, 4, options), undefined)
})

test('refusedConnect5: 0x86 is the CONNACK of a refused MQTT 5 client', async (t) => {
  assert.equal((await connackOf(t, 5, { choices: { refusedConnect5: 0x86 } })).reasonCode, 0x86)
})

test('refusedConnect5 is about authorizers: a policy without iot:Connect still gives 0x87', async (t) => {
  const endpoint = await startWith(t, [allow('iot:Publish')], { choices: { refusedConnect5: 0x86 } })
  const client = await openRaw(t, endpoint)
  assert.equal((await client.ask(connectPacket(5))).reasonCode, 0x87)
})

test('deniedPublish5: puback refuses the message and keeps the connection', async (t) => {
  const endpoint = await startWith(t, ONLY_CONNECT, { choices: { deniedPublish5: 'puback' } })
  const client = await connectRaw(t, endpoint)
  const puback = await client.ask(publish('a', 'x', { qos: 1, messageId: 1 }))
  assert.deepEqual([puback.cmd, puback.reasonCode], ['puback', 0x87])
  assert.equal((await client.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
})

test('deniedPublish5: close ends the connection without a packet', async (t) => {
  const endpoint = await startWith(t, ONLY_CONNECT, { choices: { deniedPublish5: 'close' } })
  const client = await connectRaw(t, endpoint)
  assert.equal(await client.ask(publish('a', 'x', { qos: 1, messageId: 1 })), undefined)
  assert.equal(lastOfType(endpoint, 'disconnected').disconnectReason, 'AUTH_ERROR')
})

test('deniedSubscribe5: close ends the connection without a packet', async (t) => {
  const endpoint = await startWith(t, ONLY_CONNECT, { choices: { deniedSubscribe5: 'close' } })
  const client = await connectRaw(t, endpoint)
  assert.equal(await subscribe(client, 'a'), undefined)
  assert.equal(lastOfType(endpoint, 'disconnected').disconnectReason, 'AUTH_ERROR')
})

test('deniedSubscribe5: disconnect ends the connection with DISCONNECT 0x87 and no SUBACK', async (t) => {
  const endpoint = await startWith(t, ONLY_CONNECT, { choices: { deniedSubscribe5: 'disconnect' } })
  const client = await connectRaw(t, endpoint)
  const disconnect = await subscribe(client, 'a')
  assert.deepEqual([disconnect.cmd, disconnect.reasonCode], ['disconnect', 0x87])
  assert.equal(await client.next(), undefined)
})

test('deniedPublish311: puback acknowledges a QoS 1 message that reaches nobody', async (t) => {
  const choices = { deniedPublish311: 'puback' }
  const endpoint = await startWith(t, [allow(['iot:Connect', 'iot:Subscribe', 'iot:Receive'])], { choices })
  const client = await connectRaw(t, endpoint, { protocolVersion: 4 })
  await subscribe(client, 'a')
  const puback = await client.ask(publish('a', 'x', { qos: 1, messageId: 7 }))
  assert.deepEqual([puback.cmd, puback.messageId], ['puback', 7])
  assert.equal((await client.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
})

for (const protocolVersion of [4, 5]) {
  const name = protocolVersion === 4 ? 'deniedPublish311' : 'deniedPublish5'

  test(`${name}: puback keeps the connection after QoS 0, without a PUBACK`, async (t) => {
    const endpoint = await startWith(t, ONLY_CONNECT, { choices: { [name]: 'puback' } })
    const client = await connectRaw(t, endpoint, { protocolVersion })
    client.send(publish('a'))
    assert.equal((await client.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
  })
}

test('deniedSubscribe311: suback keeps the connection, with 0x80 for the denied filter', async (t) => {
  const statements = [allow('iot:Connect'), allow('iot:Subscribe', `${ARN}:topicfilter/open`)]
  const endpoint = await startWith(t, statements, { choices: { deniedSubscribe311: 'suback' } })
  const client = await connectRaw(t, endpoint, { protocolVersion: 4 })
  assert.deepEqual((await subscribe(client, 'closed')).granted, [0x80])
  assert.deepEqual((await subscribe(client, 'open')).granted, [1])
})

test('deniedSubscribe311 is about policies: a filter that is none still closes the connection', async (t) => {
  const endpoint = await startWith(t, [allow('iot:*')], { choices: { deniedSubscribe311: 'suback' } })
  const client = await connectRaw(t, endpoint, { protocolVersion: 4 })
  assert.equal(await subscribe(client, 'a/#/b'), undefined)
})

test('a 3.1.1 client sees a denied SUBSCRIBE close its connection whatever the choices for MQTT 5 are', async (t) => {
  const endpoint = await startWith(t, ONLY_CONNECT, { choices: { deniedSubscribe5: 'suback' } })
  const client = await connectRaw(t, endpoint, { protocolVersion: 4 })
  assert.equal(await subscribe(client, 'a'), undefined)
})

test('a 3.1.1 client sees a denied PUBLISH close its connection whatever the choices for MQTT 5 are', async (t) => {
  const endpoint = await startWith(t, ONLY_CONNECT, { choices: { deniedPublish5: 'puback' } })
  const client = await connectRaw(t, endpoint, { protocolVersion: 4 })
  assert.equal(await client.ask(publish('a', 'x', { qos: 1, messageId: 1 })), undefined)
})

test('a choice that does not exist is refused, and the message lists those that do', async (t) => {
  await assert.rejects(start(t, { choices: { deniedPublish: 'close' } }), /"deniedPublish".*deniedPublish5/)
})

test('a value that does not exist is refused, and the message lists those that do', async (t) => {
  await assert.rejects(
    start(t, { choices: { refusedConnect5: 5 } }),
    /choices.refusedConnect5 must be one of 0x87, 0x86; it is 5/,
  )
})

for (const [attribute, fields] of [
  ['PersistentConnect', { clean: false, properties: { sessionExpiryInterval: 60 } }],
  ['LastWill', { will: { topic: 'w', payload: 'x', qos: 0, retain: false } }],
]) {
  test(`unconditionedConnect: non-persistent lets nobody have ${attribute} that no statement names`, async (t) => {
    const choices = { unconditionedConnect: 'non-persistent' }
    const condition = { 'ForAllValues:StringEquals': { 'iot:ConnectAttributes': [attribute] } }
    const others = allow(['iot:Publish'])
    const refusing = await startWith(t, [...ONLY_CONNECT, others], { choices })
    await connectRaw(t, refusing)
    const refused = await (await openRaw(t, refusing)).ask(connectPacket(5, fields))
    assert.equal(refused.reasonCode, 0x87)
    const naming = await startWith(t, [{ ...ONLY_CONNECT[0], Condition: condition }, others], { choices })
    assert.equal((await (await openRaw(t, naming)).ask(connectPacket(5, fields))).reasonCode, 0)
  })
}

for (const [decoding, expected] of [
  [undefined, 'a b/c'],
  ['percent', 'a+b/c'],
  ['none', 'a+b%2Fc'],
]) {
  test(`parameterDecoding: ${decoding ?? 'form, the default'} hands over ${expected}`, async (t) => {
    const endpoint = await start(t, {
      authorizers: { Open: { ...unsigned(), tokenKeyName: 'tok' } },
      choices: { parameterDecoding: decoding },
    })
    await connectRaw(t, endpoint, { username: '?tok=a+b%2Fc' })
    assert.equal(endpoint.invocations[0].event.token, expected)
  })
}

for (const [precedence, expected] of [
  [undefined, 'user'],
  ['header-query-connect', 'header'],
]) {
  test(`carrierPrecedence: ${precedence ?? 'connect-query-header, the default'} believes the ${expected}`, async (t) => {
    const endpoint = await start(t, {
      authorizers: { Open: { ...unsigned(), tokenKeyName: 'tok' } },
      choices: { carrierPrecedence: precedence },
    })
    await connectMqttJs(t, endpoint, {
      username: '?tok=user',
      path: '/mqtt?tok=query',
      wsOptions: { headers: { tok: 'header' } },
    })
    assert.equal(endpoint.invocations[0].event.token, expected)
  })
}
