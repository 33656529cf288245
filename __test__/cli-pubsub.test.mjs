import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { mock, test } from 'node:test'
import { pubsubSample } from '../build/cli/pubsub.js'
import { Interrupted } from '../build/cli/interrupt.js'

/** A client whose server returns what is published, or what `deliver` makes of it. */
function fakeClient({ deliver = (text) => [text] } = {}) {
  const calls = []
  let onMessage
  const closed = Promise.withResolvers?.() ?? withResolvers()
  const connection = Object.assign(new EventEmitter(), {
    closed: closed.promise,
    async subscribe(filter, _options, handler) {
      calls.push(`subscribe ${filter}`)
      onMessage = handler
      return {
        granted: [{ filter, qos: 1 }],
        unsubscribe: async () => void calls.push(`unsubscribe ${filter}`),
      }
    },
    async publish(topic, text) {
      calls.push(`publish ${topic} ${text}`)
      for (const payload of deliver(text)) onMessage({ topic, payload: Buffer.from(payload) })
      return { packetId: 1, reasonCode: 0 }
    },
    async disconnect() {
      calls.push('disconnect')
      closed.resolve({ unsettled: 0 })
    },
  })
  return { calls, connection, close: closed.resolve, connectWithCustomAuthorizer: async () => connection }
}

function withResolvers() {
  const all = {}
  all.promise = new Promise((resolve, reject) => Object.assign(all, { resolve, reject }))
  return all
}

function run(settings) {
  const printed = []
  const controller = new AbortController()
  return {
    printed,
    controller,
    options: { endpoint: 'host', clientId: 'me', mqttVersion: 5 },
    topic: 'a/b',
    message: 'Hi',
    count: 2,
    signal: controller.signal,
    print: (line) => void printed.push(line),
    ...settings,
  }
}

/** Lets what is ready run, without letting time pass. */
const turn = () => new Promise((resolve) => setImmediate(resolve))

test('it subscribes, publishes the count, receives it, unsubscribes and disconnects', async () => {
  const client = fakeClient()
  const context = run()
  await pubsubSample(client, context)
  assert.deepEqual(client.calls, [
    'subscribe a/b',
    'publish a/b Hi [1]',
    'publish a/b Hi [2]',
    'unsubscribe a/b',
    'disconnect',
  ])
  assert.deepEqual(context.printed, [
    'Connecting to host:443 as me over MQTT 5...',
    'Connected.',
    'Subscribed to a/b at QoS 1.',
    'Publishing 1 of 2 to a/b: Hi [1]',
    'Received 1 of 2 on a/b: Hi [1]',
    'Publishing 2 of 2 to a/b: Hi [2]',
    'Received 2 of 2 on a/b: Hi [2]',
    'Messages published and received: 2.',
    'Unsubscribed from a/b.',
    'Disconnecting...',
    'Disconnected.',
  ])
})

test('messages of others and repeated ones are shown and not counted', async () => {
  const client = fakeClient({ deliver: (text) => ['\u001b[2Jforeign', text, text] })
  const context = run({ count: 1 })
  await pubsubSample(client, context)
  assert.deepEqual(
    context.printed.filter((line) => line.startsWith('Received')),
    [
      'Received another message on a/b: \\u001b[2Jforeign',
      'Received 1 of 1 on a/b: Hi [1]',
      'Received another message on a/b: Hi [1]',
    ],
  )
})

test('messages that never come back are a failure that points to the policy', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.after(() => mock.timers.reset())
  const client = fakeClient({ deliver: (text) => (text === 'Hi [1]' ? [text] : []) })
  const ended = assert.rejects(pubsubSample(client, run()), {
    code: 'ERR_SUSPECTED_POLICY',
    stage: 'operation',
    message: '1 of 2 messages came back on a/b, and then no more.',
    hint: /iot:Receive/,
  })
  await turn()
  mock.timers.tick(10_000)
  await ended
  assert.equal(client.calls.at(-1), 'disconnect')
})

test('a run without end goes on in time until it is interrupted, and then disconnects', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.after(() => mock.timers.reset())
  const client = fakeClient()
  const context = run({ count: 0 })
  const interrupted = new Interrupted('SIGINT', 130)
  const ended = assert.rejects(pubsubSample(client, context), interrupted)
  for (let published = 1; published <= 7; published++) {
    await turn()
    assert.equal(context.printed.at(-1), `Received ${published} on a/b: Hi [${published}]`)
    mock.timers.tick(1_500)
  }
  await turn()
  context.controller.abort(interrupted)
  await ended
  assert.equal(client.calls.at(-1), 'disconnect')
})

test('a connection that is lost and made again is told, and the run goes on', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.after(() => mock.timers.reset())
  const client = fakeClient()
  const context = run({ count: 0 })
  const interrupted = new Interrupted('SIGINT', 130)
  const ended = assert.rejects(pubsubSample(client, context), interrupted)
  await turn()
  const before = context.printed.length
  const error = Object.assign(new Error('\u001b[2Jgone'), { code: 'ERR_CONNECTION_LOST' })
  client.connection.emit('interrupt', { error })
  client.connection.emit('resume', { sessionPresent: true })
  client.connection.emit('interrupt', { error })
  client.connection.emit('resume', { sessionPresent: false })
  assert.deepEqual(context.printed.slice(before), [
    'Connection lost: ERR_CONNECTION_LOST: \\u001b[2Jgone',
    'Connected again, the session was kept.',
    'Connection lost: ERR_CONNECTION_LOST: \\u001b[2Jgone',
    'Connected again.',
  ])
  mock.timers.tick(1_500)
  await turn()
  assert.equal(context.printed.at(-1), 'Received 2 on a/b: Hi [2]')
  context.controller.abort(interrupted)
  await ended
})

test('the end of the connection ends the run with its error', async () => {
  const client = fakeClient({ deliver: () => [] })
  const error = new Error('lost')
  const ended = assert.rejects(pubsubSample(client, run()), error)
  await turn()
  client.close({ error, unsettled: 0 })
  await ended
})
