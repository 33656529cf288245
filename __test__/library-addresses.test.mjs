import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { runScript } from './support/script.mjs'
import { startPeer } from './support/scripted-peer.mjs'

const COUNT = 1_000
const skip = process.platform === 'linux' ? false : 'threads are counted in /proc'

test(`${COUNT} connects at once to a name start no crowd of threads`, { skip }, async (t) => {
  const { child, exited } = runScript(
    `
      import { once } from 'node:events'
      import { readdirSync } from 'node:fs'
      import { createServer } from 'node:net'

      const threads = () => readdirSync('/proc/self/task').length
      const before = threads()
      // It accepts and never answers.
      let accepted = 0
      const sockets = []
      const server = createServer((socket) => {
        socket.on('error', () => {})
        sockets.push(socket)
        accepted++
      }).listen({ port: 0, host: '127.0.0.1', backlog: input })
      await once(server, 'listening')
      const { port } = server.address()
      const controller = new AbortController()
      const connecting = Array.from({ length: input }, () =>
        connectWithCustomAuthorizer({ endpoint: 'localhost', port, limits: 'none', signal: controller.signal }),
      )
      const settled = Promise.allSettled(connecting)
      let most = 0
      while (accepted < input) {
        most = Math.max(most, threads())
        await new Promise((resolve) => setImmediate(resolve))
      }
      most = Math.max(most, threads())
      controller.abort(new Error('aborted'))
      const reasons = (await settled).map(({ reason }) => reason?.message)
      for (const socket of sockets) socket.destroy()
      server.close()
      console.log(JSON.stringify({ more: most - before, aborted: reasons.filter((one) => one === 'aborted').length }))
    `,
    COUNT,
  )
  t.after(() => child.kill('SIGKILL'))
  const { code, stdout, stderr } = await exited
  assert.equal(code, 0, stderr)
  const { more, aborted } = JSON.parse(stdout)
  assert.equal(aborted, COUNT)
  // Those of the client's runtime, of the look-ups, and those that Node starts by itself.
  assert.ok(more <= 12, `${more} threads more`)
})

test('where every address refuses, the error names 127.0.0.1', async () => {
  const peer = await startPeer()
  await peer.close()
  const error = await connectWithCustomAuthorizer(peer.where).catch((reason) => reason)
  assert.equal(error.code, 'ERR_TCP')
  assert.ok(error.message.includes(`127.0.0.1:${peer.port}`), error.message)
})
