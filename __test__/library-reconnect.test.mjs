import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import {
  AT_ONCE,
  LATE,
  handedOut,
  refuse,
  startEndingPeer,
  startPeer,
  turnAway,
} from './support/scripted-peer.mjs'

const peer = await startEndingPeer()
after(() => peer.close())

/** What `onAttempt` reports, shown in short. */
function attempts() {
  const reports = []
  const onAttempt = (report) => reports.push(report)
  const shown = () => reports.map(({ number, error }) => `${number} ${error?.code ?? 'connected'}`)
  return { onAttempt, reports, shown }
}

/** A connection whose events are written down in order. */
async function watched(options = {}) {
  const { connection, link } = await peer.connect(options)
  const told = []
  for (const event of ['connect', 'interrupt', 'resume', 'closed']) {
    connection.on(event, (payload) => told.push({ event, ...payload }))
  }
  return { connection, link, told }
}

for (const mqttVersion of [3, 5]) {
  test(`MQTT ${mqttVersion}: a connection that is lost is made again, with the same client id`, async () => {
    const { connection, link } = await peer.connect({ mqttVersion })
    link.destroy()
    const again = await peer.welcome()
    assert.equal(again.connect.clientId, link.connect.clientId)
    await once(connection, 'resume')
    const publishing = connection.publish('a', 'x')
    assert.equal((await again.acknowledge()).topic, 'a')
    await publishing
    await connection.disconnect()
  })
}

for (const [how, lose] of [
  ['by FIN', (link) => link.end()],
  ['by a reset', (link) => link.destroy()],
  ['in the middle of a packet', (link) => (link.sendBytes(Buffer.of(0x30, 100, 0, 1)), link.end())],
  ['with a packet that is none', (link) => link.sendBytes(Buffer.of(0x00, 0x00))],
]) {
  test(`lost ${how}: the connection is made again, and again after that`, async () => {
    const { connection, link } = await peer.connect()
    lose(link)
    const second = await peer.welcome()
    await once(connection, 'resume')
    lose(second)
    await peer.welcome()
    await once(connection, 'resume')
    assert.equal(connection.state, 'connected')
    await connection.disconnect()
  })
}

test('initialConnect fail: a close after CONNECT rejects, and no attempt follows', async () => {
  const { onAttempt, reports } = attempts()
  const connecting = peer.dial({ onAttempt })
  const rejected = assert.rejects(connecting, { code: 'ERR_CLOSED_BEFORE_CONNACK' })
  await turnAway(peer)
  await rejected
  assert.equal(reports.length, 1)
  const [{ number, error, nextDelayMs }] = reports
  assert.deepEqual([number, error.code, nextDelayMs], [1, 'ERR_CLOSED_BEFORE_CONNACK', undefined])
})

for (const [what, turn, code] of [
  ['closed after CONNECT', () => turnAway(peer), 'ERR_CLOSED_BEFORE_CONNACK'],
  ['refused by CONNACK', () => refuse(peer, 0x87), 'ERR_NOT_AUTHORIZED'],
  ['refused by CONNACK with a code that MQTT does not know', () => refuse(peer, 0xc5), 'ERR_CONNECT_REFUSED'],
]) {
  test(`initialConnect retry: ${what}, attempts go on until one succeeds`, async () => {
    const { onAttempt, reports, shown } = attempts()
    const connecting = peer.dial({
      initialConnect: 'retry',
      onAttempt,
    })
    await turn()
    await turn()
    await peer.welcome()
    const connection = await connecting
    assert.deepEqual(shown(), [`1 ${code}`, `2 ${code}`, '3 connected'])
    assert.deepEqual(
      reports.map(({ nextDelayMs }) => typeof nextDelayMs),
      ['number', 'number', 'undefined'],
    )
    await connection.disconnect()
  })
}

test('initialConnect retry: a CONNACK that does not come is an attempt that failed', async () => {
  const { onAttempt, shown } = attempts()
  const connecting = peer.dial({
    initialConnect: 'retry',
    connectTimeoutMs: 1_000,
    onAttempt,
  })
  const silent = await peer.accept()
  await silent.expect('connect')
  await silent.closed
  await peer.welcome()
  const connection = await connecting
  assert.deepEqual(shown(), ['1 ERR_CONNECT_TIMEOUT', '2 connected'])
  await connection.disconnect()
})

test('initialConnect background: resolves at once, in the state connecting', async () => {
  const connection = await peer.dial({
    initialConnect: 'background',
  })
  const { state, negotiated, sessionPresent } = connection
  assert.deepEqual(
    { state, negotiated, sessionPresent },
    { state: 'connecting', negotiated: undefined, sessionPresent: false },
  )
  await peer.welcome()
  await once(connection, 'connect')
  assert.equal(connection.state, 'connected')
  assert.equal(connection.negotiated.mqttVersion, 5)
  await connection.disconnect()
})

test('initialConnect background: an attempt that fails is no interrupt, and connecting goes on', async () => {
  const connection = await peer.dial({
    initialConnect: 'background',
  })
  connection.on('interrupt', () => assert.fail('never connected'))
  connection.on('resume', () => assert.fail('never connected'))
  await turnAway(peer)
  const link = await peer.accept()
  assert.equal(connection.state, 'connecting')
  await link.expect('connect')
  link.send({ cmd: 'connack', reasonCode: 0, sessionPresent: false })
  await once(connection, 'connect')
  await connection.disconnect()
})

test('initialConnect background: publishes and subscriptions wait, and go out in order', async () => {
  const connection = await peer.dial({
    initialConnect: 'background',
  })
  const first = connection.publish('first', '')
  const got = []
  const subscribing = connection.subscribe('t', {}, ({ topic }) => got.push(topic))
  const last = connection.publish('last', '')
  const link = await peer.welcome()
  assert.equal((await link.acknowledge()).topic, 'first')
  await link.grant()
  assert.equal((await link.acknowledge()).topic, 'last')
  await Promise.all([first, subscribing, last])
  link.send({ cmd: 'publish', topic: 't', payload: '' })
  await handedOut(connection, link)
  assert.deepEqual(got, ['t'])
  await connection.disconnect()
})

test('initialConnect background: what is wrong with an option is told at once', async () => {
  await assert.rejects(
    connectWithCustomAuthorizer({ ...peer.where, initialConnect: 'background', keepAliveSeconds: 7 }),
    { code: 'ERR_INVALID_OPTION', message: /keepAliveSeconds/ },
  )
})

test('initialConnect of another name is ERR_INVALID_OPTION', async () => {
  await assert.rejects(connectWithCustomAuthorizer({ ...peer.where, initialConnect: 'later' }), {
    code: 'ERR_INVALID_OPTION',
    message: /initialConnect/,
  })
})

test('states and events of a loss: reconnecting with interrupt, connected with resume', async () => {
  const { connection, link, told } = await watched()
  const states = []
  connection.on('interrupt', () => states.push(connection.state))
  connection.on('resume', () => states.push(connection.state))
  link.end()
  await peer.welcome({ sessionPresent: true, properties: { receiveMaximum: 7 } })
  await once(connection, 'resume')
  assert.deepEqual(states, ['reconnecting', 'connected'])
  assert.equal(connection.sessionPresent, true)
  await connection.disconnect()
  const [connect, interrupt, resume, closed] = told
  assert.deepEqual(
    told.map(({ event }) => event),
    ['connect', 'interrupt', 'resume', 'closed'],
  )
  assert.equal(connect.sessionPresent, false)
  assert.deepEqual([interrupt.error.code, interrupt.error.stage], ['ERR_CONNECTION_LOST', 'session'])
  assert.deepEqual(Object.keys(resume).toSorted(), ['downMs', 'event', 'negotiated', 'sessionPresent'])
  assert.equal(resume.sessionPresent, true)
  assert.equal(resume.negotiated.inFlight, 7)
  assert.ok(Number.isInteger(resume.downMs) && resume.downMs >= 0, `${resume.downMs}`)
  assert.deepEqual(closed, { event: 'closed', unsettled: 0 })
})

test('a reconnect that fails is no second interrupt', async () => {
  const { connection, link, told } = await watched()
  link.end()
  await turnAway(peer)
  await refuse(peer)
  await peer.welcome()
  await once(connection, 'resume')
  assert.deepEqual(
    told.map(({ event }) => event),
    ['connect', 'interrupt', 'resume'],
  )
  await connection.disconnect()
})

test('a close right behind each CONNACK is an interrupt each, and attempts go on', async () => {
  const { connection, link, told } = await watched()
  link.end()
  for (let round = 0; round < 3; round++) (await peer.welcome()).end()
  await peer.welcome()
  while (told.filter(({ event }) => event === 'resume').length < 4) await once(connection, 'resume')
  assert.deepEqual(
    told.map(({ event }) => event),
    ['connect', ...Array.from({ length: 4 }, () => ['interrupt', 'resume']).flat()],
  )
  await connection.disconnect()
})

test('an interrupt is replayed once, to the first listener that comes later', async () => {
  const { connection, link } = await peer.connect(LATE)
  link.end()
  while (connection.state === 'connected') await new Promise((resolve) => setImmediate(resolve))
  const [{ error }] = await once(connection, 'interrupt')
  assert.equal(error.code, 'ERR_CONNECTION_LOST')
  connection.on('interrupt', () => assert.fail('told twice'))
  await new Promise((resolve) => setImmediate(resolve))
  await connection.disconnect()
})

test('an interrupt that is over is not replayed, its resume is', async () => {
  const { connection, link } = await peer.connect()
  link.end()
  await peer.welcome({ sessionPresent: true })
  while (!connection.sessionPresent) await new Promise((resolve) => setImmediate(resolve))
  connection.on('interrupt', () => assert.fail('is over'))
  const [{ sessionPresent }] = await once(connection, 'resume')
  assert.equal(sessionPresent, true)
  connection.on('resume', () => assert.fail('told twice'))
  await new Promise((resolve) => setImmediate(resolve))
  await connection.disconnect()
})

test('a resume that is over is not replayed while the connection is lost again', async () => {
  const { connection, link } = await peer.connect()
  link.end()
  const second = await peer.welcome({ sessionPresent: true })
  while (!connection.sessionPresent) await new Promise((resolve) => setImmediate(resolve))
  second.end()
  const third = await peer.accept()
  while (connection.state === 'connected') await new Promise((resolve) => setImmediate(resolve))
  connection.on('resume', () => assert.fail('is over'))
  await once(connection, 'interrupt')
  third.destroy()
  await connection.disconnect()
})

test('reconnect: false ends a connection that is lost, with its error', async () => {
  const { onAttempt, shown } = attempts()
  const { connection, link } = await peer.connect({ reconnect: false, onAttempt })
  connection.on('interrupt', () => assert.fail('it is the end'))
  const publishing = connection.publish('a', '')
  const rejected = assert.rejects(publishing, { code: 'ERR_CONNECTION_LOST' })
  await link.expect('publish')
  link.end()
  await rejected
  const { error, unsettled } = await connection.closed
  assert.deepEqual([error.code, unsettled, connection.state], ['ERR_CONNECTION_LOST', 1, 'closed'])
  assert.deepEqual(shown(), ['1 connected'])
})

test('reconnect: false leaves initialConnect retry as it is', async () => {
  const { onAttempt, shown } = attempts()
  // Delays cannot be shortened then: a close before CONNACK starts at up to 9 seconds, a broken handshake at 2.
  const connecting = connectWithCustomAuthorizer({
    ...peer.where,
    limits: 'none',
    reconnect: false,
    initialConnect: 'retry',
    onAttempt,
  })
  const first = await peer.accept()
  first.sendBytes(Buffer.of(0x00, 0x00))
  const link = await peer.welcome()
  const connection = await connecting
  assert.deepEqual(shown(), ['1 ERR_PROTOCOL', '2 connected'])
  link.end()
  assert.equal((await connection.closed).error.code, 'ERR_CONNECTION_LOST')
})

test('reconnect: true is ERR_INVALID_OPTION', async () => {
  await assert.rejects(connectWithCustomAuthorizer({ ...peer.where, reconnect: true }), {
    code: 'ERR_INVALID_OPTION',
    message: /reconnect/,
  })
})

for (const [name, value] of [
  ['minDelayMs', -1],
  ['minDelayMs', 0.5],
  ['maxDelayMs', 0],
  ['maxDelayMs', Number.NaN],
  ['stableAfterMs', Infinity],
  ['spreadMs', '1'],
  ['maxAttempts', 0],
  ['stopAfterRefusals', 0],
  ['renewAfterSeconds', 74],
  ['renewAfterSeconds', 604_801],
  ['retries', 3],
]) {
  test(`reconnect.${name} ${value}: ERR_INVALID_OPTION that names it`, async () => {
    await assert.rejects(connectWithCustomAuthorizer({ ...peer.where, reconnect: { [name]: value } }), {
      code: 'ERR_INVALID_OPTION',
      message: new RegExp(`reconnect\\..*${name}`),
    })
  })
}

test('reconnect.maxDelayMs below minDelayMs: ERR_INVALID_OPTION', async () => {
  await assert.rejects(
    connectWithCustomAuthorizer({ ...peer.where, reconnect: { minDelayMs: 10, maxDelayMs: 9 } }),
    { code: 'ERR_INVALID_OPTION', message: /maxDelayMs/ },
  )
})

test('maxAttempts ends initialConnect retry with the error of the last', async () => {
  const { onAttempt, reports, shown } = attempts()
  const connecting = peer.dial({
    reconnect: { ...AT_ONCE.reconnect, maxAttempts: 3 },
    initialConnect: 'retry',
    onAttempt,
  })
  const rejected = assert.rejects(connecting, { code: 'ERR_CLOSED_BEFORE_CONNACK' })
  await refuse(peer)
  await refuse(peer)
  await turnAway(peer)
  await rejected
  assert.deepEqual(shown(), ['1 ERR_NOT_AUTHORIZED', '2 ERR_NOT_AUTHORIZED', '3 ERR_CLOSED_BEFORE_CONNACK'])
  assert.equal(reports.at(-1).nextDelayMs, undefined)
})

test('maxAttempts ends a connection that is lost, and what waits for it', async () => {
  const reconnect = { ...AT_ONCE.reconnect, maxAttempts: 3 }
  const { connection, link, told } = await watched({ reconnect })
  const publishing = connection.publish('a', '')
  const rejected = assert.rejects(publishing, { code: 'ERR_NOT_AUTHORIZED' })
  await link.expect('publish')
  link.end()
  await refuse(peer)
  await refuse(peer)
  await rejected
  const { error, unsettled } = await connection.closed
  assert.deepEqual([error.code, unsettled], ['ERR_NOT_AUTHORIZED', 1])
  assert.deepEqual(
    told.map(({ event }) => event),
    ['connect', 'interrupt', 'closed'],
  )
})

test('maxAttempts counts in a row: a stable connection begins anew', async () => {
  const { onAttempt, shown } = attempts()
  const reconnect = { ...AT_ONCE.reconnect, maxAttempts: 2, stableAfterMs: 0 }
  const { connection, link } = await peer.connect({ reconnect, onAttempt })
  link.end()
  await refuse(peer)
  const second = await peer.welcome()
  await once(connection, 'resume')
  second.end()
  await refuse(peer)
  await peer.welcome()
  await once(connection, 'resume')
  assert.deepEqual(shown(), [
    '1 connected',
    '2 ERR_NOT_AUTHORIZED',
    '3 connected',
    '4 ERR_NOT_AUTHORIZED',
    '5 connected',
  ])
  await connection.disconnect()
})

test('stopAfterRefusals ends it after so many refusals in a row, and other failures end the row', async () => {
  const { onAttempt, shown } = attempts()
  const connecting = peer.dial({
    reconnect: { ...AT_ONCE.reconnect, stopAfterRefusals: 2 },
    initialConnect: 'retry',
    onAttempt,
  })
  const rejected = assert.rejects(connecting, { code: 'ERR_NOT_AUTHORIZED', reasonCode: 0x87 })
  await refuse(peer)
  const broken = await peer.accept()
  broken.sendBytes(Buffer.of(0x00, 0x00))
  await refuse(peer)
  await refuse(peer)
  await rejected
  assert.deepEqual(shown(), [
    '1 ERR_NOT_AUTHORIZED',
    '2 ERR_PROTOCOL',
    '3 ERR_NOT_AUTHORIZED',
    '4 ERR_NOT_AUTHORIZED',
  ])
})

test('an onAttempt that throws surfaces as an uncaught exception, and connecting goes on', async () => {
  const listeners = process.rawListeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  const errors = []
  process.on('uncaughtException', ({ message }) => errors.push(message))
  const connecting = peer.dial({
    initialConnect: 'retry',
    onAttempt({ number }) {
      throw new Error(`attempt ${number}`)
    },
  })
  await turnAway(peer)
  await peer.welcome()
  const connection = await connecting
  process.removeAllListeners('uncaughtException')
  for (const listener of listeners) process.on('uncaughtException', listener)
  assert.deepEqual(errors, ['attempt 1', 'attempt 2'])
  await connection.disconnect()
})

test('stats count attempts, and keep why the connection was lost', async () => {
  const { connection, link } = await peer.connect()
  assert.deepEqual([connection.stats().attempts, connection.stats().lastError], [1, undefined])
  link.end()
  await once(connection, 'interrupt')
  assert.equal(connection.stats().lastError.code, 'ERR_CONNECTION_LOST')
  await refuse(peer)
  await peer.welcome()
  await once(connection, 'resume')
  const { attempts: counted, lastError } = connection.stats()
  assert.deepEqual([counted, lastError.code], [3, 'ERR_NOT_AUTHORIZED'])
  await connection.disconnect()
})

test('stats: uptimeMs begins with a connection, and is 0 without one', async () => {
  const { connection, link } = await peer.connect()
  while (connection.stats().uptimeMs === 0) await new Promise((resolve) => setImmediate(resolve))
  link.end()
  const silent = await peer.accept()
  while (connection.state === 'connected') await new Promise((resolve) => setImmediate(resolve))
  assert.equal(connection.stats().uptimeMs, 0)
  silent.destroy()
  await peer.welcome()
  await once(connection, 'resume')
  while (connection.stats().uptimeMs === 0) await new Promise((resolve) => setImmediate(resolve))
  await connection.disconnect()
  assert.equal(connection.stats().uptimeMs, 0)
})

test('initialConnect retry: aborted during the back-off, it rejects with the reason', async () => {
  const controller = new AbortController()
  const reason = new Error('changed my mind')
  const connecting = peer.dial({
    ...LATE,
    initialConnect: 'retry',
    signal: controller.signal,
    onAttempt: () => controller.abort(reason),
  })
  const rejected = assert.rejects(connecting, (error) => error === reason)
  await turnAway(peer)
  await rejected
})

test('initialConnect retry: aborted during a later attempt, it rejects and that attempt ends', async () => {
  const controller = new AbortController()
  const reason = new Error('changed my mind')
  const connecting = peer.dial({
    initialConnect: 'retry',
    signal: controller.signal,
  })
  const rejected = assert.rejects(connecting, (error) => error === reason)
  await turnAway(peer)
  const link = await peer.accept()
  await link.expect('connect')
  controller.abort(reason)
  await rejected
  await link.closed
})

test('initialConnect background: aborted before the first connection, it ends', async () => {
  const controller = new AbortController()
  const connection = await peer.dial({
    ...LATE,
    initialConnect: 'background',
    signal: controller.signal,
    onAttempt: () => controller.abort(),
  })
  const publishing = connection.publish('a', '')
  const rejected = assert.rejects(publishing, { code: 'ERR_CLOSED' })
  await turnAway(peer)
  await rejected
  assert.equal((await connection.closed).unsettled, 1)
  assert.equal(connection.state, 'closed')
})

test('once connected the signal has no effect on reconnecting either', async () => {
  const controller = new AbortController()
  const { connection, link } = await peer.connect({ signal: controller.signal })
  link.end()
  await once(connection, 'interrupt')
  controller.abort()
  await peer.welcome()
  await once(connection, 'resume')
  assert.equal(connection.state, 'connected')
  await connection.disconnect()
})

test('disconnect() during the back-off ends at once, and what waits rejects with ERR_CLOSED', async () => {
  const { connection, link } = await peer.connect(LATE)
  link.end()
  await once(connection, 'interrupt')
  const publishing = [connection.publish('a', ''), connection.subscribe('b', {}, () => {})]
  const rejected = publishing.map((each) => assert.rejects(each, { code: 'ERR_CLOSED' }))
  await connection.disconnect({ timeoutMs: 2 ** 31 - 1 })
  await Promise.all(rejected)
  assert.equal(connection.state, 'closed')
  assert.deepEqual(await connection.closed, { unsettled: 2 })
})

test('disconnect() during an attempt ends that attempt, without an error', async () => {
  const { connection, link } = await peer.connect()
  link.end()
  const attempt = await peer.accept()
  await attempt.expect('connect')
  await connection.disconnect()
  await attempt.closed
  assert.deepEqual(await connection.closed, { unsettled: 0 })
})

test('initialConnect background: disconnect() before the first connection ends it without an error', async () => {
  const connection = await peer.dial({
    initialConnect: 'background',
  })
  connection.on('connect', () => assert.fail('never connected'))
  const attempt = await peer.accept()
  await attempt.expect('connect')
  await connection.disconnect()
  await attempt.closed
  assert.deepEqual(await connection.closed, { unsettled: 0 })
})

test('a server that is gone is tried again until disconnect()', async () => {
  const other = await startPeer()
  const { onAttempt, reports } = attempts()
  const { connection } = await other.connect({
    ...AT_ONCE,
    onAttempt(report) {
      onAttempt(report)
      if (report.number === 5) connection.disconnect()
    },
  })
  await other.close()
  assert.deepEqual(await connection.closed, { unsettled: 0 })
  assert.ok(reports.slice(1).every(({ error, nextDelayMs }) => error !== undefined && nextDelayMs >= 1))
  assert.ok(reports.some(({ error }) => error?.code === 'ERR_TCP'))
})

test('an end by maxAttempts of which nobody learns becomes a warning of the process', async () => {
  const reconnect = { ...AT_ONCE.reconnect, maxAttempts: 2 }
  const { link } = await peer.connect({ reconnect })
  const warned = once(process, 'warning')
  link.end()
  await refuse(peer)
  const [{ name, message }] = await warned
  assert.equal(name, 'ConnectionClosedWarning')
  assert.match(message, /ERR_NOT_AUTHORIZED/)
})

test('after a reconnect the first CONNECT of MQTT 5 alone has started from nothing', async () => {
  const { connection, link } = await peer.connect()
  link.end()
  const again = await peer.welcome({ sessionPresent: true })
  assert.deepEqual([link.connect.clean, again.connect.clean], [true, false])
  await connection.disconnect()
})

test('MQTT 3.1.1: with cleanSession every CONNECT starts from nothing', async () => {
  const { connection, link } = await peer.connect({ mqttVersion: 3 })
  link.end()
  const again = await peer.welcome()
  assert.deepEqual([link.connect.clean, again.connect.clean], [true, true])
  await connection.disconnect()
})
