import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { createServerCredentials } from '../local/dist/front-door/certificates.js'
import { runScript } from './support/script.mjs'
import { startPeer } from './support/scripted-peer.mjs'

const credentials = createServerCredentials(['localhost'])

let directory
const file = (name) => join(directory, name)
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'custom-authorizer-ca-'))
  const other = createServerCredentials(['localhost']).ca
  await mkdir(file('directory'))
  await Promise.all([
    writeFile(file('peer'), credentials.ca),
    writeFile(file('other'), other),
    writeFile(file('both'), other + credentials.ca),
    writeFile(file('none'), 'no certificate\n'),
    writeFile(file('directory/peer.pem'), credentials.ca),
  ])
})
after(() => rm(directory, { recursive: true }))

const CONNECT = `
  const outcome = await connectWithCustomAuthorizer(input).then(
    (connection) => connection.disconnect({ force: true }).then(() => 'connected'),
    ({ code, message }) => \`\${code}: \${message}\`,
  )
  console.log(outcome)
`

/** How connecting ends in a process with this environment. */
async function outcome(t, env, tls = {}) {
  const peer = await startPeer({ credentials })
  t.after(() => peer.close())
  // Who is connected is welcomed.
  peer.welcome().catch(() => {})
  const input = { endpoint: 'localhost', port: peer.port, tls }
  const { child, exited } = runScript(CONNECT, input, [], env)
  t.after(() => child.kill('SIGKILL'))
  const { stdout } = await exited
  return stdout.trim()
}

const code = (said) => said.split(':')[0]

for (const [what, env, expected] of [
  ['nothing', {}, 'ERR_TLS_CERTIFICATE'],
  ['SSL_CERT_FILE with the authority', { SSL_CERT_FILE: 'peer' }, 'connected'],
  ['SSL_CERT_FILE with several', { SSL_CERT_FILE: 'both' }, 'connected'],
  ['SSL_CERT_FILE with another', { SSL_CERT_FILE: 'other' }, 'ERR_TLS_CERTIFICATE'],
  ['SSL_CERT_FILE without certificates', { SSL_CERT_FILE: 'none' }, 'ERR_TLS_CERTIFICATE'],
  ['SSL_CERT_FILE that is not there', { SSL_CERT_FILE: 'no-such-file' }, 'ERR_TLS_CERTIFICATE'],
  ['SSL_CERT_DIR with the authority', { SSL_CERT_DIR: 'directory' }, 'connected'],
  ['NODE_EXTRA_CA_CERTS with the authority', { NODE_EXTRA_CA_CERTS: 'peer' }, 'connected'],
  ['NODE_EXTRA_CA_CERTS with another', { NODE_EXTRA_CA_CERTS: 'other' }, 'ERR_TLS_CERTIFICATE'],
  [
    'NODE_EXTRA_CA_CERTS beside SSL_CERT_FILE with another',
    { SSL_CERT_FILE: 'other', NODE_EXTRA_CA_CERTS: 'peer' },
    'connected',
  ],
]) {
  test(`the environment with ${what}: ${expected}`, async (t) => {
    const environment = Object.entries(env).map(([name, value]) => [name, file(value)])
    assert.equal(code(await outcome(t, Object.fromEntries(environment))), expected)
  })
}

test('SSL_CERT_FILE without certificates: the error names the variable', async (t) => {
  assert.match(await outcome(t, { SSL_CERT_FILE: file('none') }), /SSL_CERT_FILE/)
})

test('an empty SSL_CERT_FILE and NODE_EXTRA_CA_CERTS count as absent', async (t) => {
  const env = { SSL_CERT_FILE: '', SSL_CERT_DIR: file('directory'), NODE_EXTRA_CA_CERTS: '' }
  assert.equal(await outcome(t, env), 'connected')
})

test('tls.ca is trusted instead of what the environment names', async (t) => {
  const ca = createServerCredentials(['localhost']).ca
  const env = { SSL_CERT_FILE: file('peer'), NODE_EXTRA_CA_CERTS: file('peer') }
  assert.equal(code(await outcome(t, env, { ca })), 'ERR_TLS_CERTIFICATE')
})

test('SSL_CERT_FILE without certificates does not count where tls.ca is given', async (t) => {
  assert.equal(await outcome(t, { SSL_CERT_FILE: file('none') }, { ca: credentials.ca }), 'connected')
})
