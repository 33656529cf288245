import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { handedOut, refuse, sentSoFar, startEndingPeer, until } from './support/scripted-peer.mjs'

const peer = await startEndingPeer()
after(() => peer.close())

/** The error of the interrupt that these bytes, or this packet, lead to; the connection is back by then. */
async function interruptBy(what) {
  const { connection, link } = await peer.connect()
  if (Buffer.isBuffer(what)) link.sendBytes(what)
  else link.send({ cmd: 'disconnect', ...what })
  const [{ error }] = await once(connection, 'interrupt')
  await link.closed
  await peer.welcome()
  await once(connection, 'resume')
  await connection.disconnect()
  const { name, code, stage, reasonCode, reasonString, retryable, message, hint } = error
  return { name, code, stage, reasonCode, reasonString, retryable, message, hint }
}

for (const [what, packet, expected] of [
  ['without a code', Buffer.of(0xe0, 0), { code: 'ERR_SERVER_DISCONNECT', reasonCode: 0 }],
  ['with a code alone', Buffer.of(0xe0, 1, 0x8e), { code: 'ERR_SESSION_TAKEN_OVER', reasonCode: 0x8e }],
  [
    'with a code and no properties',
    Buffer.of(0xe0, 2, 0x8b, 0),
    { code: 'ERR_SERVER_DISCONNECT', reasonCode: 0x8b },
  ],
  [
    'with a code that MQTT does not know',
    Buffer.of(0xe0, 1, 0xc5),
    { code: 'ERR_SERVER_DISCONNECT', reasonCode: 0xc5 },
  ],
  [
    'with a reason string and more',
    {
      reasonCode: 0x97,
      properties: {
        reasonString: 'too many',
        serverReference: 'elsewhere',
        userProperties: { any: 'thing' },
      },
    },
    { code: 'ERR_SERVER_DISCONNECT', reasonCode: 0x97, reasonString: 'too many' },
  ],
  ['for what a policy denies', { reasonCode: 0x87 }, { code: 'ERR_SERVER_DISCONNECT', reasonCode: 0x87 }],
  [
    'for another client with this id, with words',
    { reasonCode: 0x8e, properties: { reasonString: 'another one came' } },
    { code: 'ERR_SESSION_TAKEN_OVER', reasonCode: 0x8e, reasonString: 'another one came' },
  ],
]) {
  test(`DISCONNECT ${what}: the interrupt says ${expected.code}, and the connection comes back`, async () => {
    const { code, stage, reasonCode, reasonString, name, retryable } = await interruptBy(packet)
    assert.deepEqual(
      { name, code, stage, reasonCode, reasonString, retryable },
      { name: 'MqttError', stage: 'session', reasonString: undefined, retryable: true, ...expected },
    )
  })
}

test('the message of an interrupt names the reason in words', async () => {
  assert.match((await interruptBy({ reasonCode: 0x98 })).message, /administrative action.*0x98/)
})

test('MQTT 3.1.1: a DISCONNECT of the server is against the protocol, and the connection comes back', async () => {
  const { connection, link } = await peer.connect({ mqttVersion: 3 })
  link.sendBytes(Buffer.of(0xe0, 0))
  const [{ error }] = await once(connection, 'interrupt')
  assert.equal(error.code, 'ERR_PROTOCOL')
  await peer.welcome()
  await once(connection, 'resume')
  await connection.disconnect()
})

test('what came before DISCONNECT is handed out', async () => {
  const got = []
  const { connection, link } = await peer.connect({ onMessage: ({ topic }) => got.push(topic) })
  link.send({ cmd: 'publish', topic: 'a', payload: '' }, { cmd: 'disconnect', reasonCode: 0x8b })
  await once(connection, 'interrupt')
  assert.deepEqual(got, ['a'])
  await connection.disconnect()
})

for (const [mqttVersion, code] of [
  [3, 7],
  [3, 0x63],
  [5, 0xc5],
  [5, 0x87],
  [5, 3],
]) {
  test(`MQTT ${mqttVersion}: CONNACK ${code} on a reconnect is retried`, async () => {
    const reports = []
    const { connection, link } = await peer.connect({
      mqttVersion,
      onAttempt: (report) => reports.push(report),
    })
    link.end()
    await refuse(peer, code)
    await peer.welcome()
    await once(connection, 'resume')
    assert.equal(reports[1].error.reasonCode, code)
    assert.equal(reports[1].error.stage, 'connack')
    assert.equal(reports[1].error.retryable, true)
    await connection.disconnect()
  })
}

test("the server's words in a refused CONNACK reach onAttempt", async () => {
  const reports = []
  const { connection, link } = await peer.connect({ onAttempt: (report) => reports.push(report) })
  link.end()
  await refuse(peer, 0x9f, { reasonString: 'slower please' })
  await peer.welcome()
  await once(connection, 'resume')
  assert.equal(reports[1].error.reasonString, 'slower please')
  await connection.disconnect()
})

test('messages right behind CONNACK of a resumed session reach handlers and loops, once', async () => {
  const { connection, link } = await peer.connect()
  const got = []
  const first = connection.subscribe('handled', {}, ({ payload }) => got.push(payload.toString()))
  await link.grant()
  await first
  const second = connection.subscribe('looped')
  await link.grant()
  const reader = (await second)[Symbol.asyncIterator]()
  link.destroy()
  const again = await peer.accept()
  await again.expect('connect')
  again.send(
    { cmd: 'connack', reasonCode: 0, sessionPresent: true },
    { cmd: 'publish', topic: 'handled', payload: '1', qos: 1, messageId: 1 },
    { cmd: 'publish', topic: 'looped', payload: '2', qos: 1, messageId: 2 },
    { cmd: 'publish', topic: 'handled', payload: '3', qos: 1, messageId: 3 },
  )
  assert.equal((await reader.next()).value.payload.toString(), '2')
  void reader.next()
  for (const messageId of [1, 2, 3]) assert.equal((await again.expect('puback')).messageId, messageId)
  assert.deepEqual(got, ['1', '3'])
  await connection.disconnect({ force: true })
})

test('messages right behind the first CONNACK of a kept session wait for their handler', async () => {
  const connecting = peer.dial({ cleanSession: false, clientId: 'kept' })
  const link = await peer.accept()
  await link.expect('connect')
  link.send(
    { cmd: 'connack', reasonCode: 0, sessionPresent: true },
    { cmd: 'publish', topic: 't', payload: 'stored', qos: 1, messageId: 1 },
  )
  const connection = await connecting
  const got = []
  const subscribing = connection.subscribe('t', {}, ({ payload }) => got.push(payload.toString()))
  // The PUBACK of what the handler got at once may come first.
  const packets = [await link.any(), await link.any()]
  assert.deepEqual(packets.map(({ cmd }) => cmd).toSorted(), ['puback', 'subscribe'])
  const { messageId } = packets.find(({ cmd }) => cmd === 'subscribe')
  link.send({ cmd: 'suback', messageId, granted: [1] })
  await subscribing
  assert.deepEqual(got, ['stored'])
  await connection.disconnect()
})

test('a PUBACK of an earlier connection is not sent on the next', async () => {
  const work = {}
  const pending = new Promise((resolve) => (work.done = resolve))
  const { connection, link } = await peer.connect({ onMessage: () => pending })
  link.send({ cmd: 'publish', topic: 't', payload: '', qos: 1, messageId: 7 })
  await handedOut(connection, link)
  link.destroy()
  const again = await peer.welcome({ sessionPresent: true })
  await once(connection, 'resume')
  work.done()
  await pending
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(await sentSoFar(connection, again), [])
  await connection.disconnect()
})

test('ack() of a message of an earlier connection does nothing', async () => {
  const got = []
  const { connection, link } = await peer.connect({
    manualAck: true,
    onMessage: (message) => got.push(message),
  })
  link.send({ cmd: 'publish', topic: 't', payload: '', qos: 1, messageId: 7 })
  await handedOut(connection, link)
  link.destroy()
  const again = await peer.welcome({ sessionPresent: true })
  await once(connection, 'resume')
  got[0].ack()
  assert.deepEqual(await sentSoFar(connection, again), [])
  await connection.disconnect()
})

test('what is delivered again on the next connection is handed out again, and its ack() counts', async () => {
  const got = []
  const { connection, link } = await peer.connect({
    manualAck: true,
    onMessage: (message) => got.push(message),
  })
  link.send({ cmd: 'publish', topic: 't', payload: '', qos: 1, messageId: 7 })
  await handedOut(connection, link)
  link.destroy()
  const again = await peer.welcome({ sessionPresent: true })
  again.send({ cmd: 'publish', topic: 't', payload: '', qos: 1, messageId: 7, dup: true })
  await handedOut(connection, again)
  assert.deepEqual(
    got.map(({ dup }) => dup),
    [false, true],
  )
  got[0].ack()
  assert.deepEqual(await sentSoFar(connection, again), [])
  got[1].ack()
  assert.equal((await again.expect('puback')).messageId, 7)
  await connection.disconnect()
})

test('what is delivered again on a live connection under the same id is handed out once', async () => {
  const got = []
  const { connection, link } = await peer.connect({
    manualAck: true,
    onMessage: (message) => got.push(message),
  })
  const stored = { cmd: 'publish', topic: 't', payload: '', qos: 1, messageId: 7 }
  link.send(stored, { ...stored, dup: true }, stored)
  await handedOut(connection, link)
  assert.equal(got.length, 1)
  got[0].ack()
  assert.equal((await link.expect('puback')).messageId, 7)
  await connection.disconnect()
})

test('what is delivered again on a live connection under another id is handed out again', async () => {
  const got = []
  const { connection, link } = await peer.connect({
    manualAck: true,
    onMessage: (message) => got.push(message),
  })
  const stored = { cmd: 'publish', topic: 't', payload: '', qos: 1 }
  link.send({ ...stored, messageId: 7 }, { ...stored, messageId: 8 })
  await handedOut(connection, link)
  for (const message of got) message.ack()
  for (const messageId of [7, 8]) assert.equal((await link.expect('puback')).messageId, messageId)
  assert.equal(got.length, 2)
  await connection.disconnect()
})

test('an id that was acknowledged is a new message', async () => {
  const got = []
  const { connection, link } = await peer.connect({
    onMessage: ({ payload }) => void got.push(payload.toString()),
  })
  for (const payload of ['1', '2']) {
    link.send({ cmd: 'publish', topic: 't', payload, qos: 1, messageId: 7 })
    assert.equal((await link.expect('puback')).messageId, 7)
  }
  assert.deepEqual(got, ['1', '2'])
  await connection.disconnect()
})

test(
  'with manualAck, messages of a lost connection that the app never acknowledges hold no credit',
  { timeout: 2_000 },
  async ({ signal }) => {
    const got = []
    const { connection, link } = await peer.connect({
      manualAck: true,
      receive: { maxMessages: 2 },
      onMessage: (message) => got.push(message),
    })
    const stored = (messageId) => ({ cmd: 'publish', topic: 't', payload: '', qos: 1, messageId })
    link.send(stored(1), stored(2))
    await until(() => got.length === 2, signal)
    link.destroy()
    const again = await peer.welcome({ sessionPresent: true })
    again.send(stored(1), stored(2))
    await until(() => got.length === 4, signal)
    for (const message of got.slice(2)) message.ack()
    for (const messageId of [1, 2]) assert.equal((await again.expect('puback')).messageId, messageId)
    await connection.disconnect()
  },
)

test('MQTT 3.1.1: a third connection in a row that is cut early hints at two clients with one id', async () => {
  const { connection, link } = await peer.connect({ mqttVersion: 3 })
  const hints = []
  connection.on('interrupt', ({ error }) => hints.push(/one client id/.test(error.hint)))
  link.end()
  for (let round = 0; round < 2; round++) (await peer.welcome()).end()
  await peer.welcome()
  while (hints.length < 3) await once(connection, 'interrupt')
  assert.deepEqual(hints, [false, false, true])
  await connection.disconnect()
})

test('a connection that is cut over an operation does not hint at two clients with one id', async () => {
  const { connection, link } = await peer.connect({ mqttVersion: 3 })
  const hints = []
  connection.on('interrupt', ({ error }) => hints.push(/one client id/.test(error.hint)))
  const publishing = connection.publish('t', '')
  publishing.catch(() => {})
  for (let next = link, round = 0; round < 3; round++) {
    await next.expect('publish')
    next.end()
    next = await peer.welcome()
  }
  assert.deepEqual(hints, [false, false, false])
  await connection.disconnect({ force: true })
})
