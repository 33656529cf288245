import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { connectTo, folder, moduleThatAnswers, startCli } from './cli-support.mjs'
import { write } from './module-support.mjs'
import { allow, deny, grant } from './support.mjs'

const ANSWER = JSON.stringify(grant())

async function startWith(t, source, args = []) {
  const { file } = await folder(t, { 'a.mjs': source })
  const module = file('a.mjs')
  const cli = await startCli(t, ['--authorizer', `A=${module}`, '--default-authorizer', 'A', ...args])
  return { cli, module }
}

test('an accepted connection: what the handler got and answered, and which statement let it in', async (t) => {
  const { cli } = await startWith(t, moduleThatAnswers(grant()))
  await connectTo(t, cli, { password: 'sesame' })
  await cli.until(
    /#1 +device-1 +connection accepted: MQTT 5 over TLS, principal tester, new session\n +iot:Connect on .* is allowed by policyDocuments\[0\]\.Statement\[0\]/,
  )
  assert.match(cli.out.stdout, /#1 +device-1 +authorizer A is called with\n +\{\n[^]*"password": "c2VzYW1l"/)
  assert.match(cli.out.stdout, /#1 +device-1 +authorizer A answers\n +\{\n +"isAuthenticated": true/)
})

test('--quiet leaves out the event and the answer', async (t) => {
  const { cli } = await startWith(t, moduleThatAnswers(grant()), ['--quiet'])
  await connectTo(t, cli, { password: 'sesame' })
  await cli.until(/connection accepted/)
  assert.doesNotMatch(cli.out.stdout, /is called with|answers/)
})

test('--handler-timeout gives a handler more time', async (t) => {
  const late = `export const handler = async () => {
    await new Promise((resolve) => setTimeout(resolve, 1100))
    return ${ANSWER}
  }`
  const { cli } = await startWith(t, late, ['--handler-timeout', '1'])
  await assert.rejects(connectTo(t, cli))
  await cli.until(/handler-timeout\n.* within 1 s \(limits\.handlerTimeoutMs; IoT Core allows 5 s\)/)
})

test('a handler that stumbles over what the client did not send: the log says so', async (t) => {
  const { cli } = await startWith(
    t,
    `export const handler = (event) => Buffer.from(event.protocolData.mqtt.password, 'base64')`,
  )
  await assert.rejects(connectTo(t, cli))
  await cli.until(/the event has no protocolData\.mqtt\.password: the client sent none/)
})

test('a policy without iot:Connect is told once in a refusal', async (t) => {
  const { cli } = await startWith(t, moduleThatAnswers(grant(allow('iot:Publish'))))
  await assert.rejects(connectTo(t, cli))
  const [block] = await cli.until(
    /connection refused at policy: connect-denied\n[^]*?\n(?=\d)|connection refused at policy[^]*$/,
  )
  assert.equal(block.split('iot:Connect on').length, 2)
})

test('blocks begin with the time of day', async (t) => {
  const { cli } = await startWith(t, moduleThatAnswers(grant()))
  await connectTo(t, cli)
  await cli.until(/^\d\d:\d\d:\d\d\.\d{3} {2}#1 +device-1 +connection accepted/m)
})

test('a handler that answers isAuthenticated false: stage, rule and message', async (t) => {
  const { cli } = await startWith(t, moduleThatAnswers({ isAuthenticated: false }))
  await assert.rejects(connectTo(t, cli))
  await cli.until(
    /#1 +device-1 +connection refused at authorizer: not-authenticated\n +authorizer "A" answered isAuthenticated: false/,
  )
})

test('a denied publish: the statement that denied it, and the end of the connection', async (t) => {
  const { cli } = await startWith(t, moduleThatAnswers(grant(allow('iot:*'), deny('iot:Publish'))))
  const client = await connectTo(t, cli)
  const closed = once(client, 'close')
  client.publish('secret/topic', 'x', { qos: 0 })
  await cli.until(/#1 +device-1 +publish secret\/topic \(QoS 0, 1 bytes\): denied\n.*Statement\[1\]/)
  await closed
  await cli.until(/#1 +device-1 +disconnected: AUTH_ERROR\n +\S/)
})

test('subscribing and receiving: allowed, and by which statement', async (t) => {
  const { cli } = await startWith(t, moduleThatAnswers(grant()))
  const client = await connectTo(t, cli)
  await client.subscribeAsync('a/b', { qos: 1 })
  await client.publishAsync('a/b', 'hello', { qos: 1 })
  await cli.until(/subscribe a\/b \(QoS 1\): allowed\n +iot:Subscribe on/)
  await cli.until(/receive a\/b \(QoS 1, 5 bytes\): allowed\n +iot:Receive on/)
})

test('a handler that throws: its stack, and the next connection is served', async (t) => {
  const { cli } = await startWith(
    t,
    `export const handler = async ({ protocolData: { mqtt } }) => {
      if (mqtt.clientId === 'bad') throw new TypeError('no such table')
      return ${ANSWER}
    }`,
  )
  await assert.rejects(connectTo(t, cli, { clientId: 'bad' }))
  await cli.until(
    /authorizer A: failed, handler-error;.*\n.*no such table\n +TypeError: no such table\n +at /,
  )
  await connectTo(t, cli)
  await cli.until(/#2 +device-1 +connection accepted/)
})

for (const [what, functions] of [
  [
    'a handler that forgets a rejection',
    `{ handler: () => { Promise.reject(new Error('forgotten')); return ANSWER } }`,
  ],
  [
    'a handler that throws after its answer',
    `{ handler: () => { setImmediate(() => { throw new Error('forgotten') }); return ANSWER } }`,
  ],
  ['a log that throws', `{ handler: () => ANSWER, log: () => { throw new Error('forgotten') } }`],
  [
    'an onInvocation that throws',
    `{ handler: () => ANSWER, onInvocation: () => { throw new Error('forgotten') } }`,
  ],
]) {
  test(`${what}, of the config file: its stack is shown, and the next connection is served`, async (t) => {
    const { file } = await folder(t, {
      'c.mjs': `const ANSWER = ${ANSWER}
        const { handler, ...options } = ${functions}
        export default {
          authorizers: { A: { handler, signingDisabled: true } }, defaultAuthorizer: 'A', ...options
        }`,
    })
    const cli = await startCli(t, ['--config', file('c.mjs')])
    await connectTo(t, cli)
    const client = await connectTo(t, cli, { clientId: 'device-2' })
    assert.equal(client.connected, true)
    assert.match(cli.out.stderr, /^Nothing caught this error.*\nError: forgotten\n +at .*c\.mjs:\d/m)
  })
}

test('what a handler prints comes between its call and its answer', async (t) => {
  const { cli } = await startWith(
    t,
    `export const handler = async () => {
      console.log('looking up')
      return ${ANSWER}
    }`,
  )
  await connectTo(t, cli)
  await cli.until(/connection accepted/)
  assert.match(
    cli.out.stdout,
    /is called with\n[^]*#1 +device-1 +authorizer A printed \(stdout\)\n +looking up\n[^]*A answers\n/,
  )
})

test('a module that changes is loaded again, and the next connection gets the new one', async (t) => {
  const { cli, module } = await startWith(t, moduleThatAnswers({ isAuthenticated: false }))
  await assert.rejects(connectTo(t, cli))
  await write(module, moduleThatAnswers(grant()))
  await cli.until(/authorizer A reloaded\n +changed: .*a\.mjs/)
  // Another one: a client id may connect once a second.
  const client = await connectTo(t, cli, { clientId: 'device-2' })
  assert.equal(client.connected, true)
})

test('a client id cannot steer the terminal', async (t) => {
  const { cli } = await startWith(t, moduleThatAnswers(grant()))
  await connectTo(t, cli, { clientId: 'a\u001b[2Jb\u0007c\nd' }).catch(() => {})
  await cli.until(/#1 .*\n/)
  assert.match(cli.out.stdout, /#1 +a\\u001b\[2Jb\\u0007c\\u000ad /)
})

/** A handler that prints and answers with colours. */
const COLOURFUL = `export const handler = async () => {
  console.log('\\u001b[31mred\\u001b[0m')
  return { ...${ANSWER}, note: '\\u009b31m' }
}`
// oxlint-disable-next-line no-control-regex -- they are what is looked for.
const ANSI = /[\u001b\u009b]/

for (const args of [[], ['--json']]) {
  test(`in a pipe there are no colours, whatever a handler prints ${args.join(' ')}`, async (t) => {
    const { cli } = await startWith(t, COLOURFUL, args)
    await connectTo(t, cli)
    await cli.until(/connection accepted|"type":"connected"/)
    assert.match(cli.out.stdout, /red/)
    assert.doesNotMatch(cli.out.stdout, ANSI)
  })
}

const readJson = (cli) =>
  cli.out.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

test('--json: one object a line, the calls of handlers among them', async (t) => {
  const { cli } = await startWith(t, moduleThatAnswers(grant()), ['--json'])
  await connectTo(t, cli)
  await cli.until(/"type":"connected".*\n/)
  const [listening, invocation, ...events] = readJson(cli)
  assert.equal(listening.type, 'listening')
  assert.equal(invocation.type, 'invocation')
  assert.equal(invocation.event.protocolData.mqtt.clientId, 'device-1')
  assert.equal(invocation.response.principalId, 'tester')
  assert.deepEqual(
    events.map(({ type, connectionId }) => ({ type, connectionId })),
    ['authorizer-answered', 'connected'].map((type) => ({ type, connectionId: invocation.connectionId })),
  )
})

test('--json: the first line says where it listens, whatever a module prints before', async (t) => {
  const { cli } = await startWith(t, `console.log('loading')\n${moduleThatAnswers(grant())}`, ['--json'])
  await cli.until(/"loading".*\n/)
  assert.deepEqual(
    readJson(cli).map(({ type }) => type),
    ['listening', 'handler-log'],
  )
})

test('--json: the call of a handler that throws has its error', async (t) => {
  const { cli } = await startWith(t, 'export const handler = () => { throw new RangeError("gone") }', [
    '--json',
  ])
  await assert.rejects(connectTo(t, cli))
  await cli.until(/"type":"connect-refused".*\n/)
  const { error } = readJson(cli).find(({ type }) => type === 'invocation')
  assert.equal(error.message, 'gone')
  assert.match(error.stack, /^RangeError: gone\n +at /)
})
