import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connectTo, folder, startCli } from './cli-support.mjs'
import { createTokenKey, grant } from './support.mjs'
import { showInvocation } from '../dist/cli/mask.js'

const TOKEN = 'tokenvalue8731'
const PASSWORD = 'passphrase5520'
const ANSWER = JSON.stringify(grant())

/** Repeats all it was given: in its answer, in what it prints and, for a client that is called so, in its error. */
const INDISCREET = `export const handler = async (event) => {
  console.log(JSON.stringify(event), Buffer.from(event.protocolData.mqtt.password, 'base64').toString())
  if (event.protocolData.mqtt.clientId === 'bad') throw new Error('failed for ' + JSON.stringify(event))
  return { ...${ANSWER}, context: event }
}`

async function startSigned(t, args) {
  const key = createTokenKey()
  const { file } = await folder(t, { 'a.mjs': INDISCREET, 'key.pem': key.pem })
  const cli = await startCli(t, [
    '--authorizer',
    `A=${file('a.mjs')}`,
    '--token-key-name',
    'tok',
    '--public-key',
    file('key.pem'),
    ...args,
  ])
  const signature = key.sign(TOKEN)
  const encoded = encodeURIComponent(signature)
  const username = `me?x-amz-customauthorizer-name=A&x-amz-customauthorizer-signature=${encoded}&tok=${TOKEN}&extra=other4417`
  const login = { username, password: PASSWORD }
  const base64 = Buffer.from(PASSWORD).toString('base64')
  return { cli, login, secrets: [TOKEN, PASSWORD, base64, signature, encoded, 'other4417'] }
}

const shown = (cli, secrets) => secrets.filter((secret) => cli.out.stdout.includes(secret))

for (const args of [['--redact'], ['--redact', '--json']]) {
  test(`${args.join(' ')} hides every secret of an accepted connection`, async (t) => {
    const { cli, login, secrets } = await startSigned(t, args)
    await connectTo(t, cli, login)
    await cli.until(/connection accepted|"type":"connected"/)
    assert.deepEqual(shown(cli, secrets), [])
    assert.match(
      cli.out.stdout,
      /me\?x-amz-customauthorizer-name=A&x-amz-customauthorizer-signature=\*\*\*&tok=\*\*\*/,
    )
  })

  test(`${args.join(' ')} hides every secret of a handler's error`, async (t) => {
    const { cli, login, secrets } = await startSigned(t, args)
    await assert.rejects(connectTo(t, cli, { ...login, clientId: 'bad' }))
    await cli.until(/connection refused|"type":"connect-refused"/)
    assert.deepEqual(shown(cli, secrets), [])
    assert.match(cli.out.stdout, /failed for/)
  })
}

test('without --redact the handler is shown as it was called', async (t) => {
  const { cli, login } = await startSigned(t, [])
  await connectTo(t, cli, login)
  await cli.until(/connection accepted/)
  assert.match(cli.out.stdout, new RegExp(`"token": "${TOKEN}"`))
})

test('--redact masks headers and query string of a WebSocket, save what tells nothing', () => {
  const event = {
    signatureVerified: false,
    protocols: ['http', 'mqtt'],
    protocolData: {
      http: {
        headers: { host: 'localhost', tok: 'header-secret', 'x-amz-customauthorizer-name': 'A' },
        queryString: '?x-amz-customauthorizer-name=A&tok=query-secret',
      },
    },
    connectionMetadata: { id: 'c' },
  }
  assert.deepEqual(showInvocation({ authorizer: 'A', event }, true).event.protocolData.http, {
    headers: { host: 'localhost', tok: '***', 'x-amz-customauthorizer-name': 'A' },
    queryString: '?x-amz-customauthorizer-name=A&tok=***',
  })
})

test('--redact masks numbers and booleans of an answer that are secrets, and not what the answer is', () => {
  const password = Buffer.from('48151623').toString('base64')
  const event = {
    signatureVerified: false,
    protocols: ['mqtt'],
    protocolData: { mqtt: { username: '?open=true', password } },
    connectionMetadata: { id: 'c' },
  }
  const response = {
    isAuthenticated: true,
    context: { pin: 48_151_623, pins: [48_151_623, 4815], open: true },
  }
  assert.deepEqual(showInvocation({ authorizer: 'A', event, response }, true).response, {
    isAuthenticated: true,
    context: { pin: '***', pins: ['***', 4815], open: '***' },
  })
})

test('--redact hides an answer as a whole where there are more secrets than are looked for', () => {
  const event = {
    signatureVerified: false,
    protocols: ['mqtt'],
    protocolData: { mqtt: { username: `?${Array.from({ length: 10_000 }, (_, n) => n).join('&')}` } },
    connectionMetadata: { id: 'c' },
  }
  const response = { isAuthenticated: false, context: { pin: 9999 } }
  assert.equal(showInvocation({ authorizer: 'A', event, response }, true).response, '(hidden)')
})

for (const password of ['{', '"', 'e', '\\']) {
  test(`--redact with the password ${password} leaves the log and the server whole`, async (t) => {
    const { file } = await folder(t, { 'a.mjs': `export const handler = async () => (${ANSWER})` })
    const cli = await startCli(t, [
      '--authorizer',
      `A=${file('a.mjs')}`,
      '--default-authorizer',
      'A',
      '--redact',
      '--json',
    ])
    await connectTo(t, cli, { password })
    await cli.until(/"type":"connected".*\n/)
    const [, invocation] = cli.out.stdout.split('\n').map((line) => line && JSON.parse(line))
    assert.equal(invocation.event.protocolData.mqtt.password, '***')
  })
}
