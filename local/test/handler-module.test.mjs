import assert from 'node:assert/strict'
import { relative } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { startLocalEndpoint } from 'custom-authorizer-local'
import { ANSWER, answering, countThreads, folder, principal, startModule, write } from './module-support.mjs'
import { connectPacket, connectRaw, lastOfType, ofType, openRaw, start } from './support.mjs'

const fails = (endpoint, rule, message = /./) =>
  assert.rejects(endpoint.testInvokeAuthorizer({ mqttContext: {} }), { rule, message })
const refusesToStart = (module, message) =>
  assert.rejects(startLocalEndpoint({ authorizers: { A: { module, signingDisabled: true } } }), {
    name: 'TypeError',
    message,
  })

for (const [what, name, text] of [
  ['an ES module that exports handler', 'a.mjs', answering('one')],
  ['a default export', 'a.mjs', `export default () => ({ ...${ANSWER}, principalId: 'one' })`],
  [
    'a default export with a handler',
    'a.mjs',
    `export default { handler: () => ({ ...${ANSWER}, principalId: 'one' }) }`,
  ],
  ['a CommonJS module', 'a.cjs', `exports.handler = () => ({ ...${ANSWER}, principalId: 'one' })`],
  ['CommonJS that is the function', 'a.cjs', `module.exports = () => ({ ...${ANSWER}, principalId: 'one' })`],
  [
    'CommonJS made by a compiler',
    'a.cjs',
    `Object.defineProperty(exports, '__esModule', { value: true }); exports.default = () => ({ ...${ANSWER}, principalId: 'one' })`,
  ],
  [
    'a handler with a callback',
    'a.mjs',
    `export const handler = (event, context, callback) => void callback(null, { ...${ANSWER}, principalId: 'one' })`,
  ],
]) {
  test(`${what} is called`, async (t) => {
    const path = await folder(t, { [name]: text })
    const { endpoint } = await startModule(t, path(name))
    assert.equal(await principal(endpoint), 'one')
  })
}

for (const [what, locate] of [
  ['a path from the working directory', (path) => `./${relative(process.cwd(), path)}`],
  ['a file: URL', (path) => pathToFileURL(path).href],
]) {
  test(`${what} names a module`, async (t) => {
    const path = await folder(t, { 'a.mjs': answering('one') })
    const { endpoint } = await startModule(t, locate(path('a.mjs')))
    assert.equal(await principal(endpoint), 'one')
  })
}

test('a string as handler is taken for a module', async (t) => {
  const path = await folder(t, { 'a.mjs': answering('one') })
  const authorizers = { Open: { handler: path('a.mjs'), signingDisabled: true } }
  const endpoint = await start(t, { authorizers })
  assert.equal(await principal(endpoint), 'one')
})

test('an ES module that its package declares to be CommonJS is refused with advice', async (t) => {
  const path = await folder(t, {
    'package.json': '{"type":"commonjs"}',
    'a.js': answering('new'),
  })
  await refusesToStart(path('a.js'), /an ES module in a package of CommonJS needs the ending \.mjs/)
})

test('a TypeScript module is called where Node strips types, and refused with advice elsewhere', async (t) => {
  const text = `export const handler = async (event: object) => ({ ...${ANSWER}, principalId: 'one' as string })`
  const path = await folder(t, { 'a.ts': text, 'package.json': '{ "type": "module" }' })
  if (process.features.typescript) {
    const { endpoint } = await startModule(t, path('a.ts'))
    assert.equal(await principal(endpoint), 'one')
  } else {
    await refusesToStart(path('a.ts'), /cannot run TypeScript: use 22\.18 or later, or compile it first/)
  }
})

test('a module gets the event and the context of a Lambda function', async (t) => {
  const text = `export const handler = (event, context) => {
    console.log(JSON.stringify({ event, context, remaining: context.getRemainingTimeInMillis() }))
    return ${ANSWER}
  }`
  const path = await folder(t, { 'a.mjs': text })
  const { endpoint } = await startModule(t, path('a.mjs'))
  await connectRaw(t, endpoint)
  const { event, context, remaining } = JSON.parse(lastOfType(endpoint, 'handler-log').text)
  assert.deepEqual(event, endpoint.invocations[0].event)
  assert.equal(context.invokedFunctionArn, 'arn:aws:lambda:us-east-1:123456789012:function:Module')
  assert.ok(remaining > 0 && remaining <= 5000)
})

test('variables of the module stay between calls', async (t) => {
  const text = `let calls = 0\nexport const handler = () => ({ ...${ANSWER}, principalId: 'call' + ++calls })`
  const path = await folder(t, { 'a.mjs': text })
  const { endpoint } = await startModule(t, path('a.mjs'))
  assert.deepEqual([await principal(endpoint), await principal(endpoint)], ['call1', 'call2'])
})

test('calls at the same time do not share variables', async (t) => {
  const text = `let calls = 0
    export const handler = async () => {
      const call = ++calls
      await new Promise(setImmediate)
      return { ...${ANSWER}, principalId: 'call' + call }
    }`
  const path = await folder(t, { 'a.mjs': text })
  const { endpoint } = await startModule(t, path('a.mjs'))
  assert.deepEqual(await Promise.all([principal(endpoint), principal(endpoint)]), ['call1', 'call1'])
})

test('more calls at the same time than there are threads are all answered', async (t) => {
  const path = await folder(t, { 'a.mjs': answering('one') })
  const { endpoint } = await startModule(t, path('a.mjs'))
  const answers = await Promise.all(Array.from({ length: 40 }, () => principal(endpoint)))
  assert.deepEqual(new Set(answers), new Set(['one']))
})

test('many calls after all threads have ended begin no more threads than at any time', async (t) => {
  const text = `export const handler = ({ protocolData }) => {
    if (protocolData.mqtt.clientId === 'exit') process.exit(3)
    return ${ANSWER}
  }`
  const path = await folder(t, { 'a.mjs': text })
  const threads = countThreads(t)
  const { endpoint } = await startModule(t, path('a.mjs'))
  const calls = (count, clientId) =>
    Promise.allSettled(
      Array.from({ length: count }, () => endpoint.testInvokeAuthorizer({ mqttContext: { clientId } })),
    )
  await calls(20, 'exit')
  const answers = await calls(60, 'fine')
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set(['fulfilled']))
  assert.ok(threads.most <= 16, `${threads.most} threads`)
})

test('calls that wait for the same thread to load are all told why it does not', async (t) => {
  const text = `import { existsSync } from 'node:fs'
    if (existsSync(new URL('down.txt', import.meta.url))) throw new Error('no database')
    export const handler = () => process.exit(3)`
  const path = await folder(t, { 'a.mjs': text })
  const { endpoint } = await startModule(t, path('a.mjs'))
  await fails(endpoint, 'handler-exited')
  await write(path('down.txt'), '')
  const calls = Array.from({ length: 20 }, () => fails(endpoint, 'handler-not-loaded', /Error: no database/))
  await Promise.all(calls)
})

// At start

test('a module that cannot be used is refused at start with its path and what to export', async (t) => {
  const path = await folder(t, {
    'none.mjs': 'export const other = 1',
    'throws.mjs': `throw new Error('no database')`,
    'syntax.mjs': 'export const handler = (',
    'missing.mjs': `import './gone.mjs'`,
    'exits.mjs': 'process.exit(3)',
  })
  await refusesToStart(
    path('absent.mjs'),
    `authorizers["A"].module: cannot load ${path('absent.mjs')}: there is no such file`,
  )
  await refusesToStart(path(''), /it is not a file$/)
  await refusesToStart(
    path('none.mjs'),
    /none\.mjs: it exports no handler: write "export const handler = .*its exports are: other/,
  )
  await refusesToStart(path('throws.mjs'), /throws\.mjs: Error: no database$/)
  await refusesToStart(path('syntax.mjs'), /SyntaxError: Unexpected end of input\n.*syntax\.mjs:1/)
  await refusesToStart(path('missing.mjs'), /gone\.mjs/)
  await refusesToStart(path('exits.mjs'), /process\.exit\(3\)/)
})

test('an authorizer has exactly one of handler, module and lambda', async () => {
  const starts = (authorizer) =>
    startLocalEndpoint({ authorizers: { A: { ...authorizer, signingDisabled: true } } })
  const lambda = { endpoint: 'http://127.0.0.1:3001', functionName: 'A' }
  await assert.rejects(starts({}), /^TypeError: authorizers\["A"\]: needs one of .*has none/)
  await assert.rejects(starts({ handler: () => {}, lambda }), /has 2 of them/)
  await assert.rejects(starts({ module: 7 }), /module must be a path/)
  await assert.rejects(starts({ handler: {} }), /handler must be a function or a path/)
})

// Failures

test('an error of a module is told with its stack, without secrets', async (t) => {
  const text = `export const handler = async (event) => {
    throw new RangeError('cannot look up ' + Buffer.from(event.protocolData.mqtt.password, 'base64'))
  }`
  const path = await folder(t, { 'a.mjs': text })
  const { endpoint } = await startModule(t, path('a.mjs'))
  const client = await openRaw(t, endpoint)
  await client.ask(connectPacket(5, { username: 'u', password: 'pa55word' }))
  const { rule, message, stack } = lastOfType(endpoint, 'authorizer-answered')
  assert.deepEqual([rule, message], ['handler-error', 'the handler failed: cannot look up ***'])
  assert.match(stack, /^RangeError: cannot look up \*\*\*\n +at .*a\.mjs:2:11/)
  assert.ok(!JSON.stringify(endpoint.events).includes('pa55word'))
  assert.equal(endpoint.invocations[0].error.name, 'RangeError')
})

test('a handler that never returns holds up nobody else, and is cut off by the time limit', async (t) => {
  const text = `export const handler = ({ protocolData }) => {
    console.log('called')
    while (protocolData.mqtt.clientId === 'endless');
    return ${ANSWER}
  }`
  const path = await folder(t, { 'a.mjs': text })
  const limits = { handlerTimeoutMs: 2000 }
  const { endpoint, next } = await startModule(t, path('a.mjs'), { limits })
  const called = next('handler-log')
  const refused = next('connect-refused')
  const endless = await openRaw(t, endpoint)
  endless.send(connectPacket(5, { clientId: 'endless' }))
  await called
  const other = await connectRaw(t, endpoint, { clientId: 'other' })
  const pong = await other.ask({ cmd: 'pingreq' })
  assert.equal(pong.cmd, 'pingresp')
  assert.equal((await refused).rule, 'handler-timeout')
  assert.equal((await endless.next()).reasonCode, 0x87)
})

test('a handler that calls process.exit ends its own thread and not the endpoint', async (t) => {
  const text = `export const handler = ({ protocolData }) => {
    if (protocolData.mqtt.clientId === 'exit') process.exit(3)
    return ${ANSWER}
  }`
  const path = await folder(t, { 'a.mjs': text })
  const { endpoint } = await startModule(t, path('a.mjs'))
  await assert.rejects(endpoint.testInvokeAuthorizer({ mqttContext: { clientId: 'exit' } }), {
    rule: 'handler-exited',
    message: /process\.exit\(3\)/,
  })
  assert.equal(await principal(endpoint), 'tester')
})

test('an error that nobody catches costs the calls of its thread alone', async (t) => {
  const text = `export const handler = ({ protocolData }) => {
    if (protocolData.mqtt.clientId !== 'uncaught') return ${ANSWER}
    setImmediate(() => { throw new Error('out of nowhere') })
    return new Promise(() => {})
  }`
  const path = await folder(t, { 'a.mjs': text })
  const { endpoint } = await startModule(t, path('a.mjs'))
  await assert.rejects(endpoint.testInvokeAuthorizer({ mqttContext: { clientId: 'uncaught' } }), {
    rule: 'handler-error',
    message: /out of nowhere/,
  })
  assert.equal(await principal(endpoint), 'tester')
})

test('an answer that cannot be written as JSON, or is too large, has a rule of its own', async (t) => {
  const path = await folder(t, {
    'bigint.mjs': 'export const handler = () => ({ principalId: 1n })',
    'large.mjs': `export const handler = () => ({ text: 'x'.repeat(6_291_556) })`,
  })
  const bigint = await startModule(t, path('bigint.mjs'))
  await fails(bigint.endpoint, 'answer-not-json', /BigInt/)
  const large = await startModule(t, path('large.mjs'))
  await fails(large.endpoint, 'answer-too-large', /6 MB/)
})

// Output

test('what a module prints during a call is an event of that connection, without secrets', async (t) => {
  const text = `export const handler = async (event) => {
    console.log('event', JSON.stringify(event))
    console.error('careful')
    return ${ANSWER}
  }`
  const path = await folder(t, { 'a.mjs': text })
  const { endpoint } = await startModule(t, path('a.mjs'))
  await connectRaw(t, endpoint, { clientId: 'talker', username: 'u?tok=s3cret', password: 'pa55word' })
  const [out, error] = ofType(endpoint, 'handler-log')
  assert.match(out.text, /^event \{.*"password":"\*\*\*"/)
  assert.equal(out.clientId, 'talker')
  assert.equal(out.connectionId, endpoint.invocations[0].event.connectionMetadata.id)
  assert.deepEqual([error.stream, error.text], ['stderr', 'careful'])
  assert.doesNotMatch(JSON.stringify(endpoint.events), /pa55word|s3cret/)
})

test('a secret is hidden as JSON writes it, too', async (t) => {
  const text = `export const handler = async ({ protocolData }) => {
    console.log(JSON.stringify({ password: Buffer.from(protocolData.mqtt.password, 'base64').toString() }))
    return ${ANSWER}
  }`
  const path = await folder(t, { 'a.mjs': text })
  const { endpoint } = await startModule(t, path('a.mjs'))
  await connectRaw(t, endpoint, { username: 'u', password: 'pa"55\\word' })
  assert.equal(lastOfType(endpoint, 'handler-log').text, '{"password":"***"}')
})

test('what a module prints after its call is without the secrets of that call', async (t) => {
  const text = `export const handler = async ({ protocolData }) => {
    setImmediate(() => console.log(Buffer.from(protocolData.mqtt.password, 'base64').toString()))
    return ${ANSWER}
  }`
  const path = await folder(t, { 'a.mjs': text })
  const { endpoint, next } = await startModule(t, path('a.mjs'))
  const printed = next('handler-log')
  await connectRaw(t, endpoint, { username: 'u', password: 'pa55word' })
  assert.equal((await printed).text, '***')
})

test('what a module prints at load is an event without a connection', async (t) => {
  const path = await folder(t, { 'a.mjs': `console.log('hello')\n${answering('one')}` })
  const { endpoint } = await startModule(t, path('a.mjs'))
  const { time, ...event } = lastOfType(endpoint, 'handler-log')
  assert.ok(time > 0)
  assert.deepEqual(event, { type: 'handler-log', authorizerName: 'Module', stream: 'stdout', text: 'hello' })
})

test('a module that prints without end is cut short', async (t) => {
  const text = `export const handler = () => { for (let i = 0; i < 1e5; i++) console.log('line ' + i); return ${ANSWER} }`
  const path = await folder(t, { 'a.mjs': text })
  const { endpoint } = await startModule(t, path('a.mjs'))
  await principal(endpoint)
  const lines = ofType(endpoint, 'handler-log').map((event) => event.text)
  assert.ok(lines.join('\n').length < 70_000)
  assert.match(lines.at(-1), /left out\)$/)
})

test('a member that IoT Core ignores is warned of once', async (t) => {
  const path = await folder(t, { 'a.mjs': `export const handler = () => ({ ...${ANSWER}, context: {} })` })
  const { endpoint } = await startModule(t, path('a.mjs'))
  await principal(endpoint)
  await principal(endpoint)
  const warnings = ofType(endpoint, 'warning')
  assert.equal(warnings.length, 1)
  assert.match(warnings[0].message, /authorizer "Module": IoT Core ignores .*context/)
})

test('a call after the endpoint was closed is refused', async (t) => {
  const path = await folder(t, { 'a.mjs': answering('one') })
  const { endpoint } = await startModule(t, path('a.mjs'))
  await endpoint.close()
  await fails(endpoint, 'handler-closed')
})
