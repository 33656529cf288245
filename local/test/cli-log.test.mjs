import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { connectTo, folder, moduleThatAnswers, startCli } from './cli-support.mjs'
import { allow, deny, grant } from './support.mjs'

// eslint-disable-next-line no-control-regex
const ANSI = /\x1b\[/

async function startWith(t, source, args = []) {
  const { file } = await folder(t, { 'a.mjs': source })
  const cli = await startCli(t, ['--authorizer', `A=${file('a.mjs')}`, '--default-authorizer', 'A', ...args])
  return { cli, module: file('a.mjs') }
}

test('an accepted connection: what the handler got, what it answered, and which statement let it in', async (t) => {
  const { cli } = await startWith(t, moduleThatAnswers(grant()))
  await connectTo(t, cli, { password: 'sesame' })
  await cli.until(/#1 device-1 connected over MQTT 5 as principal tester/)
  const { stdout } = cli.out
  assert.match(stdout, /#1 device-1 authorizer A got\n/)
  assert.match(stdout, /"password": "c2VzYW1l"/)
  assert.match(stdout, /#1 device-1 authorizer A answered\n/)
  assert.match(stdout, /iot:Connect on .* is allowed by policyDocuments\[0\]\.Statement\[0\]/)
})

test('a refused connection: the rule, in words', async (t) => {
  const { cli } = await startWith(t, moduleThatAnswers({ isAuthenticated: false }))
  await assert.rejects(connectTo(t, cli))
  await cli.until(/#1 device-1 refused at authorizer \(not-authenticated\)/)
})

test('a denied publish: the statement that denied it, and the end of the connection', async (t) => {
  const source = moduleThatAnswers(grant(allow('iot:*'), deny('iot:Publish')))
  const { cli } = await startWith(t, source)
  const client = await connectTo(t, cli)
  const closed = once(client, 'close')
  client.publish('secret/topic', 'x', { qos: 0 })
  await cli.until(
    /#1 device-1 publish secret\/topic, QoS 0, 1 bytes: denied\n.*Statement\[1\].*explicit Deny/,
  )
  await closed
  await cli.until(/#1 device-1 disconnected: AUTH_ERROR/)
})

test('a handler that throws: its stack, and the server goes on', async (t) => {
  const source = `export const handler = async ({ protocolData: { mqtt } }) => {
    if (mqtt.clientId === 'bad') throw new TypeError('no such table')
    return ${JSON.stringify(grant())}
  }`
  const { cli } = await startWith(t, source)
  await assert.rejects(connectTo(t, cli, { clientId: 'bad' }))
  await cli.until(/TypeError: no such table\n +at /)
  await connectTo(t, cli)
  await cli.until(/#2 device-1 connected/)
})

test('what a handler prints is shown', async (t) => {
  const source = `export const handler = async () => {
    console.log('looking up')
    return ${JSON.stringify(grant())}
  }`
  const { cli } = await startWith(t, source)
  await connectTo(t, cli)
  await cli.until(/A printed\n +looking up/)
})

test('a module that changes is loaded again, and the next connection gets the new one', async (t) => {
  const { cli, module } = await startWith(t, moduleThatAnswers({ isAuthenticated: false }))
  await assert.rejects(connectTo(t, cli))
  await writeFile(module, moduleThatAnswers(grant()))
  await cli.until(/authorizer A reloaded: /)
  // Another one: a client id may connect once a second.
  await connectTo(t, cli, { clientId: 'device-2' })
})

test('in a pipe there are no colours', async (t) => {
  const { cli } = await startWith(t, moduleThatAnswers(grant()))
  await connectTo(t, cli)
  await cli.until(/connected over/)
  assert.doesNotMatch(cli.out.stdout, ANSI)
})

test('--json: one object a line, the calls of handlers among them', async (t) => {
  const { cli } = await startWith(t, moduleThatAnswers(grant()), ['--json'])
  await connectTo(t, cli)
  await cli.until(/"type":"connected".*\n/)
  const entries = cli.out.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.deepEqual(
    entries.map(({ type }) => type),
    ['listening', 'invocation', 'authorizer-answered', 'connected'],
  )
  assert.equal(entries[1].event.protocolData.mqtt.clientId, 'device-1')
  assert.equal(entries[1].response.principalId, 'tester')
})

for (const json of [false, true]) {
  test(`--redact${json ? ' --json' : ''} shows no password, token or signature`, async (t) => {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const { file } = await folder(t, {
      'a.mjs': `export const handler = async (event) => ({ ...${JSON.stringify(grant())}, context: event })`,
      'key.pem': publicKey.export({ type: 'spki', format: 'pem' }),
    })
    const signing = ['--token-key-name', 'tok', '--public-key', file('key.pem')]
    const cli = await startCli(t, [
      '--authorizer',
      `A=${file('a.mjs')}`,
      ...signing,
      '--redact',
      ...(json ? ['--json'] : []),
    ])
    const [token, password] = ['tokenvalue8731', 'passphrase5520']
    const signature = sign('RSA-SHA256', Buffer.from(token), privateKey).toString('base64')
    const query = `x-amz-customauthorizer-name=A&x-amz-customauthorizer-signature=${encodeURIComponent(signature)}&tok=${token}`
    await connectTo(t, cli, { username: `me?${query}`, password })
    await cli.until(/connected/)
    const base64 = Buffer.from(password).toString('base64')
    for (const secret of [token, password, base64, signature, encodeURIComponent(signature)]) {
      assert.ok(!cli.out.stdout.includes(secret), secret)
    }
    assert.match(cli.out.stdout, /\*\*\*/)
  })
}
