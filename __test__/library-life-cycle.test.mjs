import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { runScript } from './support/script.mjs'
import { AT_ONCE, LATE, startPeer, turnAway } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

const QUIET = { code: 0, signal: null, stdout: '', stderr: '' }
const quick = { ...peer.where, ...AT_ONCE }
const late = { ...peer.where, ...LATE }
/** Prints what keeps the process alive, but for its own standard streams. */
const SHOW_RESOURCES = `
  const pipes = ['PipeWrap', 'TTYWrap', 'TTY']
  console.log(JSON.stringify(process.getActiveResourcesInfo().filter((each) => !pipes.includes(each))))`

test('after disconnect() during the back-off nothing is left that keeps the process alive', async () => {
  const { exited } = runScript(
    `const connection = await connectWithCustomAuthorizer(input)
     await new Promise((resolve) => connection.once('interrupt', resolve))
     await connection.disconnect()
     ${SHOW_RESOURCES}`,
    late,
  )
  const link = await peer.welcome()
  link.end()
  assert.deepEqual(await exited, { ...QUIET, stdout: '[]\n' })
})

test('after disconnect() behind a reconnect nothing is left that keeps the process alive', async () => {
  const { exited } = runScript(
    `const connection = await connectWithCustomAuthorizer(input)
     await new Promise((resolve) => connection.once('resume', resolve))
     await connection.disconnect()
     ${SHOW_RESOURCES}`,
    quick,
  )
  const link = await peer.welcome()
  link.end()
  await peer.welcome()
  assert.deepEqual(await exited, { ...QUIET, stdout: '[]\n' })
})

test('a connection that is being made again keeps the process alive', async () => {
  const { exited } = runScript(
    `const connection = await connectWithCustomAuthorizer(input)
     connection.on('resume', () => {
       console.log('again')
       void connection.disconnect()
     })`,
    { ...quick, reconnect: { minDelayMs: 300, maxDelayMs: 300, spreadMs: 300 } },
  )
  const link = await peer.welcome()
  link.end()
  await turnAway(peer)
  await peer.welcome()
  assert.deepEqual(await exited, { ...QUIET, stdout: 'again\n' })
})

test('initialConnect background keeps the process alive until it is connected', async () => {
  const { exited } = runScript(
    `const connection = await connectWithCustomAuthorizer(input)
     connection.on('connect', () => {
       console.log(connection.state)
       void connection.disconnect()
     })`,
    { ...quick, initialConnect: 'background' },
  )
  await turnAway(peer)
  await peer.welcome()
  assert.deepEqual(await exited, { ...QUIET, stdout: 'connected\n' })
})

test('waiting for credentials keeps the process alive', async () => {
  const { exited } = runScript(
    `const connection = await connectWithCustomAuthorizer({
       ...input,
       credentials: () => new Promise((resolve) => setTimeout(resolve, 200, { username: 'u' }).unref()),
     })
     await connection.disconnect()
     console.log('done')`,
    quick,
  )
  await peer.welcome()
  assert.deepEqual(await exited, { ...QUIET, stdout: 'done\n' })
})

test('unref() lets the process end during the back-off', async () => {
  const { exited } = runScript(
    `const connection = await connectWithCustomAuthorizer(input)
     connection.on('interrupt', () => connection.unref())`,
    late,
  )
  const link = await peer.welcome()
  link.end()
  assert.deepEqual(await exited, QUIET)
})

test('unref() holds over a reconnect', async () => {
  const { exited } = runScript(
    `const connection = await connectWithCustomAuthorizer(input)
     await new Promise((resolve) => connection.once('interrupt', resolve))
     connection.unref()
     // Alive until the connection is there again, whoever else would end by then.
     const alive = setInterval(() => {}, 1_000)
     connection.once('resume', () => clearInterval(alive))`,
    quick,
  )
  const link = await peer.welcome()
  link.end()
  const again = await peer.welcome()
  assert.deepEqual(await exited, QUIET)
  await again.closed
})

test('unref() lets the process end while connecting in the background', async () => {
  const other = await startPeer()
  const { exited } = runScript(
    `const connection = await connectWithCustomAuthorizer(input)
     connection.unref()`,
    { ...quick, ...other.where, initialConnect: 'background' },
  )
  assert.deepEqual(await exited, QUIET)
  await other.close()
})

for (const [what, options, prepare] of [
  ['during the back-off', late, async () => (await peer.welcome()).end()],
  [
    'while an attempt is under way',
    quick,
    async () => {
      const link = await peer.welcome()
      link.end()
      await (await peer.accept()).expect('connect')
    },
  ],
]) {
  test(`process.exit ${what} does not crash or hang`, async () => {
    const { exited } = runScript(
      `const connection = await connectWithCustomAuthorizer(input)
       connection.on('interrupt', () => {
         for (let each = 0; each < 100; each++) connection.publish('a', 'x').catch(() => {})
         setTimeout(() => process.exit(7), 100)
       })`,
      options,
    )
    await prepare()
    const { code, signal, stderr } = await exited
    assert.deepEqual({ code, signal, stderr }, { code: 7, signal: null, stderr: '' })
  })
}

test('a connection that ends by maxAttempts lets the process end', async () => {
  const { exited } = runScript(
    `const connection = await connectWithCustomAuthorizer(input)
     const { error } = await connection.closed
     console.log(error.code)
     ${SHOW_RESOURCES}`,
    { ...quick, reconnect: { ...AT_ONCE.reconnect, maxAttempts: 2 } },
  )
  const link = await peer.welcome()
  link.end()
  await turnAway(peer)
  assert.deepEqual(await exited, { ...QUIET, stdout: 'ERR_CLOSED_BEFORE_CONNACK\n[]\n' })
})

test('an initialConnect retry that is aborted leaves nothing behind', async () => {
  const { exited } = runScript(
    `const controller = new AbortController()
     await connectWithCustomAuthorizer({
       ...input,
       initialConnect: 'retry',
       signal: controller.signal,
       onAttempt: () => controller.abort(),
     }).catch(({ name }) => console.log(name))
     setImmediate(() => { ${SHOW_RESOURCES} })`,
    late,
  )
  await turnAway(peer)
  assert.deepEqual(await exited, { ...QUIET, stdout: 'AbortError\n[]\n' })
})

test('a life with losses, refusals and a forced end leaves no rejection that nobody handles', async () => {
  const { exited } = runScript(
    `const connection = await connectWithCustomAuthorizer({
       ...input,
       credentials: ({ number }) => {
         if (number === 3) throw new Error('away')
         return { username: 'u' }
       },
     })
     const subscription = await connection.subscribe('t')
     void (async () => {
       for await (const message of subscription) void message
     })().catch(() => {})
     const results = [connection.publish('a', ''), connection.request('b', '')]
     for (const each of results) each.catch(({ code }) => console.log(code))
     connection.on('resume', () => void connection.disconnect({ force: true }))`,
    quick,
  )
  const link = await peer.welcome()
  await link.grant()
  await link.expect('publish')
  link.end()
  await turnAway(peer)
  await peer.welcome()
  assert.deepEqual(await exited, { ...QUIET, stdout: 'ERR_CLOSED\nERR_CLOSED\n' })
})

test('connections that came back and have ended can be collected', async () => {
  const { exited } = runScript(
    `const ended = []
     await (async () => {
       for (let round = 0; round < 10; round++) {
         const connection = await connectWithCustomAuthorizer(input)
         await new Promise((resolve) => connection.once('resume', resolve))
         ended.push(new WeakRef(connection))
         await connection.disconnect()
       }
     })()
     for (let round = 0; round < 5; round++) {
       await new Promise((resolve) => setImmediate(resolve))
       gc()
     }
     // The last may still be in a register or on the stack.
     console.log(ended.filter((each) => each.deref() !== undefined).length <= 1)`,
    quick,
    ['--expose-gc'],
  )
  for (let round = 0; round < 10; round++) {
    const link = await peer.welcome()
    link.end()
    await peer.welcome()
  }
  assert.deepEqual(await exited, { ...QUIET, stdout: 'true\n' })
})
