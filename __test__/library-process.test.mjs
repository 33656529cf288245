import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { runScript } from './support/script.mjs'
import { startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

const QUIET = { code: 0, signal: null, stdout: '', stderr: '' }

test('after disconnect() the process ends by itself', async () => {
  const { exited } = runScript(
    `const connection = await connectWithCustomAuthorizer(input)
     await connection.disconnect()`,
    peer.where,
  )
  await peer.welcome()
  assert.deepEqual(await exited, QUIET)
})

test('after disconnect() nothing is left that keeps the process alive', async () => {
  const { exited } = runScript(
    `const connection = await connectWithCustomAuthorizer(input)
     await connection.disconnect()
     const pipes = ['PipeWrap', 'TTYWrap', 'TTY']
     console.log(JSON.stringify(process.getActiveResourcesInfo().filter((each) => !pipes.includes(each))))`,
    peer.where,
  )
  await peer.welcome()
  assert.deepEqual(JSON.parse((await exited).stdout), [])
})

test('an open connection keeps the process alive until the server ends it', async () => {
  const { exited, until } = runScript(
    `const connection = await connectWithCustomAuthorizer({ ...input, reconnect: false })
     console.log('connected')
     connection.on('closed', ({ error }) => console.log(error.code))`,
    peer.where,
  )
  const link = await peer.welcome()
  await until('connected')
  link.end()
  const { code, stdout } = await exited
  assert.deepEqual({ code, stdout }, { code: 0, stdout: 'connected\nERR_CONNECTION_LOST\n' })
})

test('a failed connect leaves nothing behind', async () => {
  const { exited } = runScript(
    `await connectWithCustomAuthorizer(input).catch(({ code }) => console.log(code))`,
    peer.where,
  )
  const link = await peer.accept()
  link.end()
  assert.deepEqual(await exited, { ...QUIET, stdout: 'ERR_CLOSED_BEFORE_CONNACK\n' })
})

test('a refused option leaves nothing behind', async () => {
  const { exited } = runScript(
    `await connectWithCustomAuthorizer(input).catch(({ code }) => console.log(code))`,
    { endpoint: '' },
  )
  assert.deepEqual(await exited, { ...QUIET, stdout: 'ERR_INVALID_OPTION\n' })
})

test('an aborted connect leaves nothing behind', async () => {
  const other = await startPeer()
  const { exited } = runScript(
    `await connectWithCustomAuthorizer({ ...input, signal: AbortSignal.timeout(1) })
       .catch(({ name }) => console.log(name))`,
    other.where,
  )
  assert.deepEqual(await exited, { ...QUIET, stdout: 'TimeoutError\n' })
  await other.close()
})

test('unref() lets the process end although the connection is open', async () => {
  const { exited } = runScript(
    `const connection = await connectWithCustomAuthorizer(input)
     connection.unref()`,
    peer.where,
  )
  const link = await peer.welcome()
  assert.deepEqual(await exited, QUIET)
  await link.closed
})

test('ref() takes unref() back, and both may be called often', async () => {
  const { exited, until } = runScript(
    `const connection = await connectWithCustomAuthorizer({ ...input, reconnect: false })
     connection.unref().unref().ref().ref().unref().ref()
     connection.on('closed', () => console.log('closed'))
     console.log('connected')`,
    peer.where,
  )
  const link = await peer.welcome()
  await until('connected')
  link.end()
  assert.equal((await exited).stdout, 'connected\nclosed\n')
})

test('of two connections each keeps the process alive by itself', async () => {
  const { exited, until } = runScript(
    `const first = await connectWithCustomAuthorizer(input)
     const second = await connectWithCustomAuthorizer({ ...input, reconnect: false })
     first.unref()
     await first.disconnect()
     second.on('closed', () => console.log('closed'))
     console.log('connected')`,
    peer.where,
  )
  await peer.welcome()
  const link = await peer.welcome()
  await until('connected')
  link.end()
  assert.equal((await exited).stdout, 'connected\nclosed\n')
})

test('process.exit with open connections and traffic in both directions does not crash or hang', async () => {
  for (let round = 0; round < 8; round++) {
    const { exited } = runScript(
      `const connections = [await connectWithCustomAuthorizer(input), await connectWithCustomAuthorizer(input)]
       let seen = 0
       for (const connection of connections) {
         connection.on('message', () => {
           connection.publish('out', 'x', { qos: 0 }).catch(() => {})
           connection.publish('out', 'x', { qos: 1 }).catch(() => {})
           if (++seen === 500) process.exit(7)
         })
       }`,
      { ...peer.where, limits: { publishesPerSecond: false, bytesPerSecond: false } },
    )
    const links = [await peer.welcome(), await peer.welcome()]
    await Promise.all(links.map((link) => link.flood()))
    const { code, signal, stderr } = await exited
    assert.deepEqual({ code, signal, stderr }, { code: 7, signal: null, stderr: '' })
  }
})

test('process.exit while a connect is under way does not crash or hang', async () => {
  const other = await startPeer()
  const { exited } = runScript(
    `void connectWithCustomAuthorizer(input)
     setImmediate(() => process.exit(7))`,
    other.where,
  )
  const { code, signal } = await exited
  assert.deepEqual({ code, signal }, { code: 7, signal: null })
  await other.close()
})

test('an uncaught exception ends the process as ever', async () => {
  const { exited } = runScript(
    `const connection = await connectWithCustomAuthorizer(input)
     connection.on('message', () => { throw new Error('from a listener') })`,
    peer.where,
  )
  const link = await peer.welcome()
  link.send({ cmd: 'publish', topic: 't', payload: '' })
  const { code, stderr } = await exited
  assert.equal(code, 1)
  assert.match(stderr, /Error: from a listener/)
  await link.closed
})

for (const signal of ['SIGTERM', 'SIGKILL']) {
  test(`${signal} mid-traffic ends the process and its link`, async () => {
    const { child, exited, until } = runScript(
      `const connection = await connectWithCustomAuthorizer(input)
       let seen = 0
       connection.on('message', () => {
         if (++seen === 100) console.log('busy')
       })`,
      peer.where,
    )
    const link = await peer.welcome()
    const flooding = link.flood()
    await until('busy')
    child.kill(signal)
    assert.equal((await exited).signal, signal)
    await flooding
  })
}

test('a connection that nobody holds any more goes on as long as it is referenced', async () => {
  const { exited } = runScript(
    `await (async () => {
       const connection = await connectWithCustomAuthorizer(input)
       connection.on('message', ({ topic }) => {
         console.log(topic)
         void connection.disconnect()
       })
     })()
     for (let round = 0; round < 5; round++) {
       gc()
       await new Promise((resolve) => setImmediate(resolve))
     }`,
    peer.where,
    ['--expose-gc'],
  )
  const link = await peer.welcome()
  link.send({ cmd: 'publish', topic: 'still here', payload: '' })
  assert.equal((await exited).stdout, 'still here\n')
})

test('connections that have ended can be collected', async () => {
  const { exited } = runScript(
    `const ended = []
     await (async () => {
       for (let round = 0; round < 20; round++) {
         const connection = await connectWithCustomAuthorizer(input)
         connection.on('message', () => {})
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
    peer.where,
    ['--expose-gc'],
  )
  for (let round = 0; round < 20; round++) await peer.welcome()
  assert.deepEqual(await exited, { ...QUIET, stdout: 'true\n' })
})
