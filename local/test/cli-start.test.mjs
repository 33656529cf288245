import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { connectTo, folder, moduleThatAnswers, startCli } from './cli-support.mjs'
import { grant } from './support.mjs'

const CLIENT = fileURLToPath(new URL('../../dist/index.js', import.meta.url))

test('the printed command connects as it stands', async (t) => {
  const { file } = await folder(t, { 'a.mjs': moduleThatAnswers(grant()) })
  const cli = await startCli(t, ['--authorizer', `MyAuthorizer=${file('a.mjs')}`])
  const [, command] = await cli.until(/ npx custom-authorizer-connect (.*\\\n.*)\n/)
  const args = command
    .replace('\\\n', ' ')
    .split(/\s+/)
    .map((word) => word.replaceAll("'", ''))
  const client = spawn(process.execPath, [CLIENT, ...args], {
    env: { ...process.env, DEVICE_PASSWORD: 'secret' },
  })
  let said = ''
  client.stdout.setEncoding('utf8').on('data', (text) => (said += text))
  const [code] = await once(client, 'close')
  assert.equal(code, 0, said)
  assert.match(said, /Connection completed\./)
})

test('a signing authorizer gets a command with token and signature', async (t) => {
  const { generateKeyPairSync } = await import('node:crypto')
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const { file } = await folder(t, {
    'a.mjs': moduleThatAnswers(grant()),
    'key.pem': publicKey.export({ type: 'spki', format: 'pem' }),
  })
  const signing = ['--token-key-name', 'tok', '--public-key', file('key.pem')]
  const cli = await startCli(t, ['--authorizer', `A=${file('a.mjs')}`, ...signing])
  await cli.until(/--custom_auth_token_key_name tok .*--custom_auth_authorizer_signature env:SIGNATURE/)
})

test('--ca-file gets the certificate of the authority', async (t) => {
  const { file } = await folder(t, { 'a.mjs': moduleThatAnswers(grant()) })
  const cli = await startCli(t, ['--authorizer', `A=${file('a.mjs')}`, '--ca-file', file('ca.pem')])
  await cli.until(/Ctrl-C/)
  assert.match(await readFile(file('ca.pem'), 'utf8'), /-----BEGIN CERTIFICATE-----/)
})

for (const [kind, name, text] of [
  [
    'JSON',
    'c.json',
    (module) =>
      JSON.stringify({ authorizers: { A: { module, signingDisabled: true } }, defaultAuthorizer: 'A' }),
  ],
  [
    'a module',
    'c.mjs',
    () =>
      `export default () => ({ authorizers: { A: { handler: () => (${JSON.stringify(grant())}), signingDisabled: true } }, defaultAuthorizer: 'A' })`,
  ],
]) {
  test(`a config file that is ${kind} says the same as flags`, async (t) => {
    const { file } = await folder(t, { 'a.mjs': moduleThatAnswers(grant()) })
    const { writeFile } = await import('node:fs/promises')
    await writeFile(file(name), text(file('a.mjs')))
    const cli = await startCli(t, ['--config', file(name)])
    await connectTo(t, cli)
  })
}

for (const signal of ['SIGINT', 'SIGTERM']) {
  test(`${signal} ends it cleanly, connections included`, async (t) => {
    const { file } = await folder(t, { 'a.mjs': moduleThatAnswers(grant()) })
    const cli = await startCli(t, ['--authorizer', `A=${file('a.mjs')}`, '--default-authorizer', 'A'])
    await connectTo(t, cli)
    cli.child.kill(signal)
    const [code] = await cli.closed
    assert.equal(code, 0, cli.out.stderr)
    assert.match(cli.out.stdout, /disconnected: SERVER_INITIATED_DISCONNECT/)
  })
}

test('a reader that has gone ends it quietly', async (t) => {
  const { file } = await folder(t, { 'a.mjs': moduleThatAnswers(grant()) })
  const cli = await startCli(t, ['--authorizer', `A=${file('a.mjs')}`, '--default-authorizer', 'A'])
  await cli.until(/Ctrl-C/)
  cli.child.stdout.destroy()
  // Something has to be written for it to notice.
  await connectTo(t, cli).catch(() => {})
  await cli.closed
  assert.equal(cli.out.stderr, '')
})
