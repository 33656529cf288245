import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  allow,
  ARN,
  connectRaw,
  deny,
  lastOfType,
  ofType,
  publish,
  startWith,
  subscribe,
} from './support.mjs'

const STATEMENTS = [
  allow(['iot:Connect', 'iot:Subscribe', 'iot:Receive']),
  allow('iot:Publish', `${ARN}:topic/open/*`),
  deny('iot:Subscribe', `${ARN}:topicfilter/secret/*`),
  deny('iot:Receive', `${ARN}:topic/open/hidden`),
]

for (const protocolVersion of [4, 5]) {
  const name = protocolVersion === 4 ? '3.1.1' : 'MQTT 5'

  test(`${name}: a denied QoS 0 PUBLISH ends the connection`, async (t) => {
    const endpoint = await startWith(t, STATEMENTS)
    const client = await connectRaw(t, endpoint, { protocolVersion })
    client.send(publish('closed/x'))
    if (protocolVersion === 5) assert.equal((await client.next()).reasonCode, 0x87)
    assert.equal(await client.next(), undefined)
    const event = lastOfType(endpoint, 'publish')
    assert.deepEqual(
      [event.topic, event.allowed, event.decision.reason],
      ['closed/x', false, 'implicit-deny'],
    )
    assert.equal(lastOfType(endpoint, 'disconnected').disconnectReason, 'AUTH_ERROR')
  })

  test(`${name}: a denied QoS 1 PUBLISH ends the connection`, async (t) => {
    const endpoint = await startWith(t, STATEMENTS)
    const client = await connectRaw(t, endpoint, { protocolVersion })
    client.send(publish('closed/x', 'x', { qos: 1, messageId: 7 }))
    if (protocolVersion === 5) {
      const puback = await client.next()
      assert.deepEqual([puback.cmd, puback.messageId, puback.reasonCode], ['puback', 7, 0x87])
      const disconnect = await client.next()
      assert.deepEqual([disconnect.cmd, disconnect.reasonCode], ['disconnect', 0x87])
    }
    assert.equal(await client.next(), undefined)
  })

  test(`${name}: a retained PUBLISH without iot:RetainPublish ends the connection`, async (t) => {
    const endpoint = await startWith(t, STATEMENTS)
    const client = await connectRaw(t, endpoint, { protocolVersion })
    client.send(publish('open/x', 'x', { retain: true }))
    await client.closed
    assert.equal(lastOfType(endpoint, 'publish').decision.action, 'iot:RetainPublish')
  })

  test(`${name}: a message that iot:Receive denies is silently not delivered`, async (t) => {
    const endpoint = await startWith(t, STATEMENTS)
    const client = await connectRaw(t, endpoint, { protocolVersion })
    await subscribe(client, 'open/#')
    client.send(publish('open/hidden', 'no', { qos: 1, messageId: 1 }))
    client.send(publish('open/seen', 'yes', { qos: 1, messageId: 2 }))
    const packets = [await client.next(), await client.next(), await client.next()]
    const delivered = packets.filter(({ cmd }) => cmd === 'publish')
    assert.deepEqual(
      delivered.map(({ topic }) => topic),
      ['open/seen'],
    )
    const [hidden, seen] = ofType(endpoint, 'receive')
    assert.deepEqual([hidden.allowed, hidden.decision.statement], [false, { document: 0, index: 3 }])
    assert.equal(seen.allowed, true)
  })
}

test('3.1.1: a denied SUBSCRIBE closes the connection without a SUBACK', async (t) => {
  const endpoint = await startWith(t, STATEMENTS)
  const client = await connectRaw(t, endpoint, { protocolVersion: 4 })
  assert.equal(await subscribe(client, 'secret/x'), undefined)
  assert.equal(lastOfType(endpoint, 'disconnected').disconnectReason, 'AUTH_ERROR')
  assert.deepEqual(lastOfType(endpoint, 'subscribe').decision.statement, { document: 0, index: 2 })
})

test('MQTT 5: a denied filter gets 0x87 in SUBACK, the others are granted, the connection is kept', async (t) => {
  const endpoint = await startWith(t, STATEMENTS)
  const client = await connectRaw(t, endpoint)
  const subscriptions = [
    { topic: 'secret/x', qos: 1 },
    { topic: 'open/#', qos: 0 },
    { topic: 'a/#/b', qos: 0 },
  ]
  const suback = await client.ask({ cmd: 'subscribe', messageId: 3, subscriptions })
  assert.deepEqual(suback.granted, [0x87, 0, 0x8f])
  assert.equal((await client.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
})

test('the filter is judged as it is written, wildcards and $share included', async (t) => {
  const endpoint = await startWith(t, [
    allow('iot:Connect'),
    allow('iot:Subscribe', [`${ARN}:topicfilter/a/*`, `${ARN}:topicfilter/$share/g/b`]),
  ])
  const client = await connectRaw(t, endpoint)
  assert.deepEqual((await subscribe(client, 'a/#')).granted, [1])
  assert.deepEqual((await subscribe(client, '#')).granted, [0x87])
  assert.deepEqual((await subscribe(client, '$share/g/b')).granted, [1])
  assert.deepEqual((await subscribe(client, 'b')).granted, [0x87])
})

test('profile friendly explains a DISCONNECT', async (t) => {
  const endpoint = await startWith(t, STATEMENTS, { profile: 'friendly' })
  const client = await connectRaw(t, endpoint)
  const disconnect = await client.ask(publish('closed/x'))
  assert.match(disconnect.properties.reasonString, /iot:Publish on .*topic\/closed\/x is denied/)
})
