import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { connect } from 'mqtt'
import { connectMqtt, connectRaw, ofType, start, subscribe } from './support.mjs'

/** MQTT.js, a client that nobody here wrote, in both versions of the protocol; 4 is 3.1.1. */
for (const protocolVersion of [4, 5]) {
  const name = protocolVersion === 4 ? '3.1.1' : 'MQTT 5'
  const persistent = {
    protocolVersion,
    clientId: 'device',
    clean: false,
    ...(protocolVersion === 5 && { properties: { sessionExpiryInterval: 600 } }),
  }

  test(`${name}: a session is resumed, with what was published meanwhile`, async (t) => {
    const endpoint = await start(t)
    const first = await connectMqtt(t, endpoint, persistent)
    await first.subscribeAsync('a', { qos: 1 })
    await first.endAsync()
    const publisher = await connectMqtt(t, endpoint, { protocolVersion, clientId: 'publisher' })
    for (const payload of ['1', '2', '3']) await publisher.publishAsync('a', payload, { qos: 1 })
    // Not connectMqtt: what is stored comes right behind CONNACK, before a promise could be awaited.
    const second = connect({
      protocol: 'mqtts',
      host: endpoint.endpoint,
      servername: endpoint.endpoint,
      port: endpoint.port,
      ca: endpoint.ca,
      ALPNProtocols: ['mqtt'],
      reconnectPeriod: 0,
      ...persistent,
    })
    t.after(() => second.endAsync(true))
    const payloads = []
    const all = new Promise((resolve) => {
      second.on('message', (_topic, payload) => {
        if (payloads.push(payload.toString()) === 3) resolve()
      })
    })
    const [{ sessionPresent }] = await once(second, 'connect')
    await all
    assert.equal(sessionPresent, true)
    assert.deepEqual(payloads, ['1', '2', '3'])
  })

  test(`${name}: the will comes when the connection is cut, and not after DISCONNECT`, async (t) => {
    const endpoint = await start(t)
    const watcher = await connectRaw(t, endpoint, { clientId: 'watcher' })
    await subscribe(watcher, 'will/#')
    const will = (topic) => ({ topic, payload: Buffer.from('gone'), qos: 1, retain: false })
    const leaving = await connectMqtt(t, endpoint, { protocolVersion, will: will('will/left') })
    await leaving.endAsync()
    const dying = await connectMqtt(t, endpoint, { protocolVersion, will: will('will/cut') })
    dying.stream.destroy()
    assert.equal((await watcher.next()).topic, 'will/cut')
  })

  test(`${name}: retained messages come with RETAIN, and are deleted by an empty one`, async (t) => {
    const endpoint = await start(t)
    const client = await connectMqtt(t, endpoint, { protocolVersion })
    await client.publishAsync('state', 'on', { qos: 1, retain: true })
    const message = once(client, 'message')
    await client.subscribeAsync('state')
    const [, payload, packet] = await message
    assert.deepEqual([payload.toString(), packet.retain], ['on', true])
    await client.unsubscribeAsync('state')
    await client.publishAsync('state', '', { qos: 1, retain: true })
    await client.subscribeAsync('state')
    assert.equal(ofType(endpoint, 'receive').length, 1)
  })

  test(`${name}: members of a shared subscription share`, async (t) => {
    const endpoint = await start(t)
    const got = []
    let enough
    const all = new Promise((resolve) => (enough = resolve))
    for (const clientId of ['left', 'right']) {
      const member = await connectMqtt(t, endpoint, { protocolVersion, clientId })
      member.on('message', (_topic, payload) => {
        if (got.push(payload.toString()) === 20) enough()
      })
      await member.subscribeAsync('$share/g/work', { qos: 1 })
    }
    const publisher = await connectMqtt(t, endpoint, { protocolVersion, clientId: 'publisher' })
    for (let n = 0; n < 20; n++) await publisher.publishAsync('work', String(n), { qos: 1 })
    await all
    assert.equal(new Set(got).size, 20)
  })
}

test('MQTT 5: MQTT.js uses topic aliases', async (t) => {
  const endpoint = await start(t)
  const client = await connectMqtt(t, endpoint, { autoAssignTopicAlias: true })
  const sent = []
  client.on('packetsend', ({ cmd, topic }) => cmd === 'publish' && sent.push(topic))
  for (const topic of ['a', 'b', 'a', 'b', 'a']) await client.publishAsync(topic, 'x', { qos: 1 })
  assert.deepEqual(sent, ['a', 'b', '', '', ''])
  assert.deepEqual(
    ofType(endpoint, 'publish').map(({ topic }) => topic),
    ['a', 'b', 'a', 'b', 'a'],
  )
})
