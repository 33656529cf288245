import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { handedOut, startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

/** Every listener of the process for what nobody caught, replaced for the time of `run`. */
async function uncaught(run) {
  const listeners = process.rawListeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  const errors = []
  process.on('uncaughtException', (error) => errors.push(error))
  try {
    await run()
  } finally {
    process.removeAllListeners('uncaughtException')
    for (const listener of listeners) process.on('uncaughtException', listener)
  }
  return errors
}

test('connect is replayed once, to the first listener that comes later', async () => {
  const { connection } = await peer.connect({ mqttVersion: 3 }, { sessionPresent: false })
  const [told] = await once(connection, 'connect')
  assert.deepEqual(told, { sessionPresent: false, negotiated: connection.negotiated })
  connection.on('connect', () => assert.fail('told twice'))
  await connection.disconnect()
})

test('closed is replayed once, to the first listener that comes later', async () => {
  const { connection, link } = await peer.connect({ reconnect: false })
  link.destroy()
  const reason = await connection.closed
  assert.equal(reason.error.code, 'ERR_CONNECTION_LOST')
  const [told] = await once(connection, 'closed')
  assert.deepEqual(told, reason)
  connection.on('closed', () => assert.fail('told twice'))
  await new Promise((resolve) => queueMicrotask(resolve))
})

test('a listener that was there is told, and nothing is replayed', async () => {
  const { connection } = await peer.connect()
  let told = 0
  connection.on('closed', () => told++)
  await connection.disconnect()
  connection.on('closed', () => assert.fail('told twice'))
  await new Promise((resolve) => queueMicrotask(resolve))
  assert.equal(told, 1)
})

for (const [which, remove] of [
  ['all', (connection) => connection.removeAllListeners()],
  ['those for one event', (connection) => connection.removeAllListeners('newListener')],
]) {
  test(`listeners that come after ${which} were removed hear of messages and replays`, async (t) => {
    const { connection, link } = await peer.connect()
    t.after(() => connection.disconnect({ force: true }))
    remove(connection)
    await once(connection, 'connect')
    const heard = once(connection, 'message')
    link.send({ cmd: 'publish', topic: 't', payload: 'x' })
    const [message] = await heard
    assert.equal(message.topic, 't')
  })
}

test('a listener that is taken off at once costs nobody the replay', async () => {
  const { connection } = await peer.connect()
  const never = () => assert.fail('was taken off')
  connection.on('connect', never)
  connection.off('connect', never)
  await Promise.resolve()
  await once(connection, 'connect')
  await connection.disconnect()
})

test('a message listener that throws surfaces as an uncaught exception, and everything else goes on', async () => {
  const { connection, link } = await peer.connect()
  const got = []
  connection.on('message', ({ topic }) => {
    throw new Error(`listener ${topic}`)
  })
  connection.on('message', ({ topic }) => got.push(topic))
  const errors = await uncaught(async () => {
    link.send(
      { cmd: 'publish', topic: 'a', payload: '' },
      { cmd: 'publish', topic: 'b', payload: '', qos: 1, messageId: 1 },
    )
    await handedOut(connection, link)
  })
  assert.deepEqual(
    errors.map(({ message }) => message),
    ['listener a', 'listener b'],
  )
  assert.deepEqual(got, ['a', 'b'])
  await connection.disconnect()
})

test('a closed listener and a logger that throw do not keep disconnect() from ending', async () => {
  const errors = await uncaught(async () => {
    const logger = () => {
      throw new Error('logger')
    }
    const { connection } = await peer.connect({ logLevel: 'info', logger })
    connection.on('closed', () => {
      throw new Error('closed listener')
    })
    await connection.disconnect()
    assert.equal(connection.state, 'closed')
  })
  const said = new Set(errors.map(({ message }) => message))
  assert.deepEqual([...said].toSorted(), ['closed listener', 'logger'])
})

test('no listener for error is needed: a lost connection throws nothing', async () => {
  const { connection, link } = await peer.connect({ reconnect: false })
  link.destroy()
  const { error, unsettled } = await connection.closed
  assert.deepEqual(
    { code: error.code, stage: error.stage, unsettled },
    {
      code: 'ERR_CONNECTION_LOST',
      stage: 'session',
      unsettled: 0,
    },
  )
})

test('what CONNACK granted can be read', async () => {
  const { connection } = await peer.connect(
    { cleanSession: false, clientId: 'me' },
    {
      sessionPresent: true,
      properties: {
        receiveMaximum: 9,
        maximumQoS: 0,
        retainAvailable: false,
        maximumPacketSize: 1_000,
        serverKeepAlive: 45,
        sessionExpiryInterval: 77,
        topicAliasMaximum: 8,
      },
    },
  )
  assert.equal(connection.clientId, 'me')
  assert.equal(connection.sessionPresent, true)
  assert.deepEqual(connection.negotiated, {
    mqttVersion: 5,
    keepAliveSeconds: 45,
    inFlight: 9,
    maximumPacketSize: 1_000,
    maximumQoS: 0,
    retainAvailable: false,
    sessionExpirySeconds: 77,
    topicAliasMaximum: 8,
    alpnProtocol: 'mqtt',
  })
  await connection.disconnect()
})

test('states: connected, disconnecting, closed', async () => {
  const { connection } = await peer.connect()
  const states = [connection.state]
  const ending = connection.disconnect()
  states.push(connection.state)
  await ending
  states.push(connection.state)
  assert.deepEqual(states, ['connected', 'disconnecting', 'closed'])
})

test('log records reach the logger and the log event, from the level on', async () => {
  const records = []
  const { connection, link } = await peer.connect({
    logLevel: 'debug',
    logger: (record) => records.push(record),
  })
  const heard = []
  connection.on('log', (record) => heard.push(record))
  link.send({ cmd: 'puback', messageId: 99, reasonCode: 0 })
  await handedOut(connection, link)
  await connection.disconnect()
  assert.ok(
    records.some(({ level, message }) => level === 'info' && message.startsWith('connecting to localhost:')),
  )
  assert.ok(heard.some(({ level, message }) => level === 'debug' && /PUBACK for packet id 99/.test(message)))
  assert.ok(records.every(({ level }) => ['error', 'warn', 'info', 'debug'].includes(level)))
  for (const { time, clientId } of records) {
    assert.equal(clientId, connection.clientId)
    assert.ok(Number.isInteger(time))
  }
})

test('without a logLevel nothing is logged', async () => {
  const { connection } = await peer.connect({ logger: () => assert.fail('logged') })
  connection.on('log', () => assert.fail('logged'))
  await connection.disconnect()
})
