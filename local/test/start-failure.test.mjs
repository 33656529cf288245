import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { startLocalEndpoint } from 'custom-authorizer-local'
import { folder } from './module-support.mjs'
import { start, unsigned } from './support.mjs'

const authorizers = { Open: unsigned() }

const { TMPDIR } = process.env

/** Where this process makes its temporary files, until the end of the test. */
function useTemporaryFolder(t, path) {
  process.env.TMPDIR = path
  t.after(() => {
    if (TMPDIR === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = TMPDIR
  })
}

/** A port of 127.0.0.1 where nothing listens. */
async function findFreePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

test('without a temporary folder the endpoint does not start, says so, and leaves its port free', async (t) => {
  const path = await folder(t, {})
  const port = await findFreePort()
  useTemporaryFolder(t, path('none'))
  await assert.rejects(startLocalEndpoint({ authorizers, port }), ({ message }) => {
    assert.match(message, /the CA certificate needs a folder in .*none, .*ENOENT.*; set TMPDIR/)
    return true
  })
  useTemporaryFolder(t, path('.'))
  await start(t, { port })
})

test('an endpoint that cannot listen leaves no file behind', async (t) => {
  const path = await folder(t, {})
  const taken = await start(t)
  useTemporaryFolder(t, path('.'))
  await assert.rejects(startLocalEndpoint({ authorizers, port: taken.port }), { code: 'EADDRINUSE' })
  assert.deepEqual(await readdir(path('.')), [])
})
