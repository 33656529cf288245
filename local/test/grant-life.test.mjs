import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { createManualClock } from 'custom-authorizer-local'
import { ANSWER, folder } from './module-support.mjs'
import {
  allow,
  ARN,
  connectMqtt,
  connectPacket,
  connectRaw,
  deny,
  grant,
  lastOfType,
  ofType,
  openRaw,
  publish,
  start,
  subscribe,
} from './support.mjs'

const REFRESH_MS = 300_000

/** Its authorizer gives these answers one after the other, the last one for ever. */
async function startWithAnswers(t, answers, options = {}) {
  const clock = createManualClock()
  const left = [...answers]
  const handler = async () => {
    const answer = left.length > 1 ? left.shift() : left[0]
    if (answer instanceof Error) throw answer
    return answer
  }
  const endpoint = await start(t, {
    authorizers: { Open: { handler, signingDisabled: true } },
    clock,
    ...options,
  })
  return { endpoint, clock }
}

const quiet = { keepalive: 1200 }
const DENIED = { isAuthenticated: false }

for (const protocolVersion of [4, 5]) {
  const name = protocolVersion === 4 ? '3.1.1' : 'MQTT 5'
  const options = { protocolVersion, ...quiet }

  /** The end of a connection with this DISCONNECT on MQTT 5, without a word on 3.1.1. */
  async function expectEnd(client, reasonCode) {
    let packet = await client.next()
    if (protocolVersion === 5 && reasonCode !== undefined) {
      assert.deepEqual([packet?.cmd, packet?.reasonCode], ['disconnect', reasonCode])
      packet = await client.next()
    }
    assert.equal(packet, undefined)
  }

  for (const [what, answer, said] of [
    ['denies', DENIED, /isAuthenticated: false/],
    ['fails', new Error('table is down'), /table is down/],
    ['breaks a rule', { ...grant(), principalId: 'a-b' }, /principalId/],
    ['no longer allows iot:Connect', grant(allow('iot:Publish')), /iot:Connect .* is denied/],
  ]) {
    test(`${name}: a refresh that ${what} ends the connection`, async (t) => {
      const { endpoint, clock } = await startWithAnswers(t, [grant(), answer])
      const client = await connectRaw(t, endpoint, options)
      await clock.advance(REFRESH_MS)
      await expectEnd(client, 0x87)
      const event = lastOfType(endpoint, 'disconnected')
      assert.equal(event.disconnectReason, 'AUTH_ERROR')
      assert.match(event.message, said)
    })
  }

  test(`${name}: a connection as old as disconnectAfterInSeconds is cut, and its will is sent`, async (t) => {
    const { endpoint, clock } = await startWithAnswers(t, [{ ...grant(), disconnectAfterInSeconds: 1000 }])
    const will = { topic: 'will/x', payload: 'old', qos: 0, retain: false }
    const client = await connectRaw(t, endpoint, { ...options, clientId: 'old', will })
    await clock.advance(1)
    const watcher = await connectRaw(t, endpoint, { ...options, clientId: 'watcher' })
    await subscribe(watcher, 'will/#')
    await clock.advance(999_998)
    assert.deepEqual(ofType(endpoint, 'disconnected'), [])
    await clock.advance(1)
    await expectEnd(client)
    const { clientId, disconnectReason } = lastOfType(endpoint, 'disconnected')
    assert.deepEqual([clientId, disconnectReason], ['old', 'CUSTOMAUTH_TTL_EXPIRATION'])
    assert.equal((await watcher.next()).payload.toString(), 'old')
  })
}

test('a refresh asks with the same event', async (t) => {
  const { endpoint, clock } = await startWithAnswers(t, [grant()])
  await connectMqtt(t, endpoint, { ...quiet, clientId: 'device', username: 'user?a=b', password: 'secret' })
  await clock.advance(REFRESH_MS)
  const [first, second] = endpoint.invocations
  assert.deepEqual(second.event, first.event)
})

test('no refresh comes before its time, and one after every refreshAfterInSeconds', async (t) => {
  const later = { ...grant(), refreshAfterInSeconds: 400 }
  const { endpoint, clock } = await startWithAnswers(t, [grant(), later])
  await connectMqtt(t, endpoint, { ...quiet, keepalive: 1200 })
  const calls = []
  for (const ms of [299_999, 1, 399_999, 1]) {
    await clock.advance(ms)
    calls.push(endpoint.invocations.length)
  }
  assert.deepEqual(calls, [1, 2, 2, 3])
})

test('a refresh is recorded with what it granted', async (t) => {
  const again = { ...grant(), principalId: 'other', refreshAfterInSeconds: 600 }
  const { endpoint, clock } = await startWithAnswers(t, [grant(), again])
  await connectRaw(t, endpoint, { ...quiet, clientId: 'device' })
  await clock.advance(REFRESH_MS)
  const { clientId, authorizerName, principalId, refreshAfterInSeconds, decision } = lastOfType(
    endpoint,
    'refreshed',
  )
  assert.deepEqual(
    { clientId, authorizerName, principalId, refreshAfterInSeconds, allowed: decision.allowed },
    {
      clientId: 'device',
      authorizerName: 'Open',
      principalId: 'other',
      refreshAfterInSeconds: 600,
      allowed: true,
    },
  )
})

test('after a refresh what is published is judged by the new policy', async (t) => {
  const { endpoint, clock } = await startWithAnswers(t, [grant(), grant(allow('iot:*'), deny('iot:Publish'))])
  const client = await connectRaw(t, endpoint, quiet)
  assert.equal((await client.ask(publish('a', 'x', { qos: 1, messageId: 1 }))).reasonCode, 0)
  await clock.advance(REFRESH_MS)
  const puback = await client.ask(publish('a', 'x', { qos: 1, messageId: 2 }))
  assert.deepEqual([puback.cmd, puback.reasonCode], ['puback', 0x87])
})

test('a live subscription stays after a refresh, and iot:Receive of the new policy judges its messages', async (t) => {
  const shrunk = grant(allow(['iot:Connect', 'iot:Publish']), allow('iot:Receive', `${ARN}:topic/open/*`))
  const { endpoint, clock } = await startWithAnswers(t, [grant(), shrunk])
  const client = await connectRaw(t, endpoint, quiet)
  await subscribe(client, '#')
  await clock.advance(REFRESH_MS)
  client.send(publish('closed/x'))
  client.send(publish('open/x'))
  assert.equal((await client.next()).topic, 'open/x')
})

test('a refresh does not make a connection live longer', async (t) => {
  const answer = { ...grant(), disconnectAfterInSeconds: 1000 }
  const { endpoint, clock } = await startWithAnswers(t, [answer])
  await connectRaw(t, endpoint, quiet)
  await clock.advance(1_000_000)
  assert.equal(ofType(endpoint, 'refreshed').length, 3)
  assert.equal(lastOfType(endpoint, 'disconnected').disconnectReason, 'CUSTOMAUTH_TTL_EXPIRATION')
})

test('an answer after the client has gone is not acted on', async (t) => {
  const clock = createManualClock()
  const { promise, resolve } = withResolvers()
  const answers = [grant(), promise]
  const endpoint = await start(t, {
    authorizers: { Open: { handler: () => answers.shift(), signingDisabled: true } },
    clock,
  })
  const client = await connectRaw(t, endpoint, quiet)
  const advanced = clock.advance(REFRESH_MS)
  while (endpoint.invocations.length < 2) await new Promise(setImmediate)
  client.send({ cmd: 'disconnect', reasonCode: 0 })
  await client.closed
  resolve(DENIED)
  await advanced
  assert.equal(lastOfType(endpoint, 'disconnected').disconnectReason, 'CLIENT_INITIATED_DISCONNECT')
  assert.equal(ofType(endpoint, 'disconnected').length, 1)
})

test('a refresh that does not answer within its time ends the connection', async (t) => {
  const clock = createManualClock()
  const answers = [grant(), new Promise(() => {})]
  const endpoint = await start(t, {
    authorizers: { Open: { handler: () => answers.shift(), signingDisabled: true } },
    clock,
    limits: { handlerTimeoutMs: 100 },
  })
  await connectRaw(t, endpoint, quiet)
  await clock.advance(REFRESH_MS + 99)
  assert.deepEqual(ofType(endpoint, 'disconnected'), [])
  await clock.advance(1)
  assert.match(lastOfType(endpoint, 'disconnected').message, /did not answer within 0\.1 s/)
})

/** An authorizer of each kind that works for some real time before it answers. */
const WORKING = {
  function: async () => ({
    handler: async () => {
      await setTimeout(20)
      return grant()
    },
  }),
  module: async (t) => {
    const path = await folder(t, {
      'a.mjs': `import { setTimeout } from 'node:timers/promises'
        export const handler = async () => { await setTimeout(20); return ${ANSWER} }`,
    })
    return { module: path('a.mjs') }
  },
  'Lambda API': async (t) => {
    const server = createServer(async (request, response) => {
      await request.resume().toArray()
      await setTimeout(20)
      response.end(ANSWER)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => server.close())
    return { lambda: { endpoint: `http://127.0.0.1:${server.address().port}`, functionName: 'function' } }
  },
}

for (const [kind, create] of Object.entries(WORKING)) {
  const startWorking = async (t) => {
    const clock = createManualClock()
    const authorizers = { Open: { ...(await create(t)), signingDisabled: true } }
    return { clock, endpoint: await start(t, { authorizers, clock }) }
  }

  test(`${kind}: advance returns when the handler that it set to work has answered`, async (t) => {
    const { endpoint, clock } = await startWorking(t)
    await connectRaw(t, endpoint, quiet)
    await clock.advance(REFRESH_MS)
    assert.equal(ofType(endpoint, 'refreshed').length, 1)
  })

  test(`${kind}: a jump does not cut off a handler that does its work, and the clock stands still for it`, async (t) => {
    const { endpoint, clock } = await startWorking(t)
    await connectRaw(t, endpoint, quiet)
    const connectedAt = clock.now()
    await clock.advance(3 * REFRESH_MS + 10_000)
    assert.deepEqual(
      ofType(endpoint, 'refreshed').map(({ time }) => time - connectedAt),
      [1, 2, 3].map((n) => n * REFRESH_MS),
    )
    assert.deepEqual(ofType(endpoint, 'disconnected'), [])
  })

  test(`${kind}: a jump does not cut off a handler that was at work before`, async (t) => {
    const { endpoint, clock } = await startWorking(t)
    const client = await openRaw(t, endpoint)
    const connack = client.ask(connectPacket(5, quiet))
    while (endpoint.invocations.length === 0) await new Promise(setImmediate)
    await clock.advance(10_000)
    assert.equal((await connack).reasonCode, 0)
  })
}

test('by the choice failedRefresh: keep, a denied refresh leaves policy and connection, and is tried again', async (t) => {
  const { endpoint, clock } = await startWithAnswers(t, [grant(), DENIED, grant()], {
    choices: { failedRefresh: 'keep' },
  })
  const client = await connectRaw(t, endpoint, quiet)
  await clock.advance(REFRESH_MS)
  assert.match(lastOfType(endpoint, 'warning').message, /isAuthenticated: false/)
  assert.equal((await client.ask(publish('a', 'x', { qos: 1, messageId: 1 }))).reasonCode, 0)
  await clock.advance(REFRESH_MS)
  assert.equal(ofType(endpoint, 'refreshed').length, 1)
})

test('by the choice endOfLife5 an MQTT 5 client is told the end', async (t) => {
  const { endpoint, clock } = await startWithAnswers(t, [{ ...grant(), disconnectAfterInSeconds: 300 }], {
    choices: { endOfLife5: 0x98 },
  })
  const client = await connectRaw(t, endpoint, quiet)
  await clock.advance(300_000)
  assert.equal((await client.next()).reasonCode, 0x98)
})

function withResolvers() {
  let resolve
  const promise = new Promise((settle) => (resolve = settle))
  return { promise, resolve }
}
