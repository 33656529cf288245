import assert from 'node:assert/strict'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { runScript } from './support/script.mjs'
import { startPeer } from './support/scripted-peer.mjs'

/** Connects in a process with SSLKEYLOGFILE, and gives the directory of that file and the peer's own log of keys. */
async function connected(t, tls) {
  const directory = await mkdtemp(join(tmpdir(), 'custom-authorizer-keys-'))
  t.after(() => rm(directory, { recursive: true }))
  const peer = await startPeer()
  t.after(() => peer.close())
  const { child, exited } = runScript(
    `
      const connection = await connectWithCustomAuthorizer(input)
      await connection.disconnect({ force: true })
    `,
    { ...peer.where, tls: { ca: peer.ca, ...tls } },
    [],
    { SSLKEYLOGFILE: join(directory, 'keys.log') },
  )
  t.after(() => child.kill('SIGKILL'))
  await peer.welcome()
  const { code, stderr } = await exited
  assert.equal(code, 0, stderr)
  return directory
}

test('with tls.keyLog the secrets of TLS are in the file that SSLKEYLOGFILE names', async (t) => {
  const directory = await connected(t, { keyLog: true })
  const text = await readFile(join(directory, 'keys.log'), 'utf8')
  // The form that Wireshark reads.
  assert.match(text, /^CLIENT_TRAFFIC_SECRET_0 [0-9a-f]{64} [0-9a-f]{64,}$/m)
  assert.match(text, /^SERVER_TRAFFIC_SECRET_0 [0-9a-f]{64} [0-9a-f]{64,}$/m)
})

for (const [what, tls] of [
  ['without tls.keyLog', {}],
  ['with tls.keyLog: false', { keyLog: false }],
]) {
  test(`${what} SSLKEYLOGFILE is ignored: there is no file`, async (t) => {
    const directory = await connected(t, tls)
    assert.deepEqual(await readdir(directory), [])
  })
}

test('a connection without tls.keyLog beside one with it is not logged', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'custom-authorizer-keys-'))
  t.after(() => rm(directory, { recursive: true }))
  const peer = await startPeer()
  t.after(() => peer.close())
  const { child, exited } = runScript(
    `
      const ends = []
      for (const keyLog of [true, false]) {
        const { ca } = input.tls
        ends.push(await connectWithCustomAuthorizer({ ...input, tls: { ca, keyLog } }))
      }
      for (const connection of ends) await connection.disconnect({ force: true })
    `,
    peer.where,
    [],
    { SSLKEYLOGFILE: join(directory, 'keys.log') },
  )
  t.after(() => child.kill('SIGKILL'))
  await peer.welcome()
  await peer.welcome()
  const { code, stderr } = await exited
  assert.equal(code, 0, stderr)
  const text = await readFile(join(directory, 'keys.log'), 'utf8')
  assert.equal(text.match(/^CLIENT_TRAFFIC_SECRET_0 /gm).length, 1)
})

test('tls.keyLog warns that the connection can be read, on an error that follows', async (t) => {
  const { child, exited } = runScript(
    `
      const { warnings } = await connectWithCustomAuthorizer(input).catch((error) => error)
      console.log(JSON.stringify(warnings))
    `,
    // Port 1 is nobody's.
    { endpoint: '127.0.0.1', port: 1, tls: { keyLog: true } },
    [],
    { SSLKEYLOGFILE: '/dev/null' },
  )
  t.after(() => child.kill('SIGKILL'))
  const { stdout } = await exited
  assert.match(stdout, /SSLKEYLOGFILE/)
})
