import assert from 'node:assert/strict'
import diagnostics from 'node:diagnostics_channel'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { refuse, startEndingPeer } from './support/scripted-peer.mjs'

const peer = await startEndingPeer()
after(() => peer.close())

const NAMES = ['attempt', 'connect', 'interrupt', 'resume', 'closed']

/** Everything that is published about one client until `stop`. */
function watch(clientId) {
  const published = []
  const listeners = NAMES.map((name) => {
    const listener = (message) => message.clientId === clientId && published.push({ name, message })
    diagnostics.subscribe(`custom-authorizer-connect:${name}`, listener)
    return () => diagnostics.unsubscribe(`custom-authorizer-connect:${name}`, listener)
  })
  return { published, stop: () => listeners.forEach((stop) => stop()) }
}

test('what is published is what the events say', async () => {
  const { published, stop } = watch('payloads')
  const { connection, link } = await peer.connect({ clientId: 'payloads' })
  const told = {}
  for (const name of NAMES) connection.on(name, (payload) => (told[name] = payload))
  await once(connection, 'connect')
  link.end()
  await peer.welcome()
  await once(connection, 'resume')
  await connection.disconnect()
  stop()
  for (const name of ['connect', 'interrupt', 'resume', 'closed']) {
    const { message } = published.find((each) => each.name === name)
    const { connection: about, clientId, ...payload } = message
    assert.equal(about, connection)
    assert.equal(clientId, 'payloads')
    assert.deepEqual(payload, told[name], name)
  }
})

test('attempts are published as onAttempt reports them', async () => {
  const { published, stop } = watch('attempts')
  const reports = []
  const connecting = peer.dial({
    clientId: 'attempts',
    initialConnect: 'retry',
    onAttempt: (report) => reports.push(report),
  })
  await refuse(peer)
  await peer.welcome()
  const connection = await connecting
  await connection.disconnect()
  stop()
  const attempts = published.filter(({ name }) => name === 'attempt').map(({ message }) => message)
  assert.deepEqual(
    attempts.map(({ number, error, nextDelayMs }) => ({ number, error, nextDelayMs })),
    reports.map(({ number, error, nextDelayMs }) => ({ number, error, nextDelayMs })),
  )
})

test('a connect that fails publishes its attempt', async () => {
  const { published, stop } = watch('failing')
  const connecting = peer.dial({ clientId: 'failing' })
  const rejected = assert.rejects(connecting, { code: 'ERR_NOT_AUTHORIZED' })
  await refuse(peer)
  await rejected
  stop()
  const [{ name, message }] = published
  assert.deepEqual([name, message.number, message.error.code], ['attempt', 1, 'ERR_NOT_AUTHORIZED'])
})

test('two connections are told apart', async () => {
  const [first, second] = [watch('first'), watch('second')]
  const one = await peer.connect({ clientId: 'first' })
  const two = await peer.connect({ clientId: 'second' })
  await Promise.all([one.connection.disconnect(), two.connection.disconnect()])
  for (const [{ published, stop }, { connection }] of [
    [first, one],
    [second, two],
  ]) {
    stop()
    assert.deepEqual(
      published.map(({ name }) => name),
      ['attempt', 'connect', 'closed'],
    )
    assert.ok(published.every(({ message }) => message.connection === connection))
  }
})
