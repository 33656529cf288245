import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startEndingPeer } from './support/scripted-peer.mjs'

const peer = await startEndingPeer()
after(() => peer.close())

const plain = (object) => JSON.parse(JSON.stringify(object))
/** The will as the peer sees it in CONNECT, of a client that ends then. */
async function willOf(options) {
  const { connection, link } = await peer.connect(options)
  await connection.disconnect()
  return link.connect.will
}

for (const mqttVersion of [3, 5]) {
  test(`MQTT ${mqttVersion}: a will leaves in CONNECT, at QoS 1 and not retained by default`, async () => {
    const { topic, payload, qos, retain } = await willOf({
      mqttVersion,
      will: { topic: 'gone/me', payload: 'good bye' },
    })
    assert.deepEqual(
      { topic, payload: payload.toString(), qos, retain },
      { topic: 'gone/me', payload: 'good bye', qos: 1, retain: false },
    )
  })

  test(`MQTT ${mqttVersion}: a will at QoS 0, retained, without a payload`, async () => {
    const { payload, qos, retain } = await willOf({
      mqttVersion,
      will: { topic: 'gone/me', payload: '', qos: 0, retain: true },
    })
    assert.deepEqual([payload.length, qos, retain], [0, 0, true])
  })

  test(`MQTT ${mqttVersion}: without a will CONNECT has none`, async () => {
    assert.equal(await willOf({ mqttVersion }), undefined)
  })
}

for (const [what, payload, expected] of [
  ['bytes', Uint8Array.of(0, 255), Buffer.of(0, 255)],
  ['JSON', { alive: false }, Buffer.from('{"alive":false}')],
  ['a view of a larger buffer', Buffer.from('[last]').subarray(1, 5), Buffer.from('last')],
]) {
  test(`the payload of a will may be ${what}`, async () => {
    assert.deepEqual((await willOf({ will: { topic: 'a', payload } })).payload, expected)
  })
}

test('delay and properties of a will leave in CONNECT', async () => {
  const { properties } = await willOf({
    will: {
      topic: 'gone/me',
      payload: 'x',
      delaySeconds: 30,
      properties: {
        contentType: 'text/plain',
        responseTopic: 'answers',
        correlationData: 'id',
        payloadFormat: 'utf8',
        userProperties: { a: ['1', '2'] },
      },
    },
  })
  const { correlationData, ...rest } = properties
  assert.equal(correlationData.toString(), 'id')
  assert.deepEqual(plain(rest), {
    willDelayInterval: 30,
    payloadFormatIndicator: true,
    contentType: 'text/plain',
    responseTopic: 'answers',
    userProperties: { a: ['1', '2'] },
  })
})

test('a will stands beside user name and password', async () => {
  const { connection, link } = await peer.connect({
    username: 'u',
    password: 'p',
    will: { topic: 'a', payload: 'x' },
  })
  const { username, password, will } = link.connect
  assert.deepEqual([username, password.toString(), will.topic], ['u', 'p', 'a'])
  await connection.disconnect()
})

test('the will is in the CONNECT of a reconnect too', async () => {
  const { connection, link } = await peer.connect({ will: { topic: 'a', payload: 'x', delaySeconds: 5 } })
  link.end()
  const again = await peer.welcome()
  assert.deepEqual(again.connect.will, link.connect.will)
  await connection.disconnect()
})

test('disconnect() ends in good order: the server is not to publish the will', async () => {
  const { connection, link } = await peer.connect({ will: { topic: 'a', payload: 'x' } })
  await connection.disconnect()
  assert.equal((await link.expect('disconnect')).reasonCode ?? 0, 0)
})

for (const [what, will, named] of [
  ['no topic', { payload: '' }, /topic/],
  ['no payload', { topic: 'a' }, /payload/],
  ['a topic with a wildcard', { topic: 'a/#', payload: '' }, /a\/#|topic/],
  ['an empty topic', { topic: '', payload: '' }, /topic/],
  ['QoS 2', { topic: 'a', payload: '', qos: 2 }, /QoS/i],
  ['a negative delay', { topic: 'a', payload: '', delaySeconds: -1 }, /delaySeconds/],
  ['a delay of half a second', { topic: 'a', payload: '', delaySeconds: 0.5 }, /delaySeconds/],
  ['retain as text', { topic: 'a', payload: '', retain: 'yes' }, /retain/],
  ['an unknown option', { topic: 'a', payload: '', message: 'x' }, /message/],
  ['a number for a payload', { topic: 'a', payload: 7 }, /payload/],
  ['an unknown property', { topic: 'a', payload: '', properties: { type: 'x' } }, /type/],
  ['null', null, /will/],
]) {
  test(`a will with ${what} is refused before anything is sent`, async () => {
    await assert.rejects(peer.dial({ will }), ({ name, code, message }) => {
      assert.equal(name, 'MqttError')
      assert.match(code, /^ERR_(INVALID_OPTION|INVALID_TOPIC|LIMIT)$/)
      assert.match(message, named)
      return true
    })
  })
}

test("a will beyond IoT Core's 128 KiB is refused before anything is sent", async () => {
  const will = { topic: 'a', payload: Buffer.alloc(128 * 1_024 + 1) }
  await assert.rejects(peer.dial({ limits: 'aws-iot-core', will }), { name: 'MqttError' })
})
