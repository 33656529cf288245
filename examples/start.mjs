// What `npm start` runs: IoT Core's front door on this machine with three authorizers, and the command
// line connecting through each of them. No AWS account needed.
import { spawn } from 'node:child_process'
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { inspect, styleText } from 'node:util'
import { startLocalEndpoint } from 'custom-authorizer-local'
import { SignJWT } from 'jose'
import * as signedAuthorizer from './signed-authorizer.mjs'
import * as unsignedAuthorizer from './unsigned-authorizer.mjs'

const CLI = fileURLToPath(new URL('../dist/index.js', import.meta.url))
const PATIENCE_MS = 60_000

if (!existsSync(CLI)) {
  console.error('dist/index.js is missing: run `npm run build` first.')
  process.exit(1)
}

// Whoever issues tokens keeps the private key; IoT Core gets the public one.
const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
// Where the same secret signs and verifies, the function needs it in its environment.
process.env.JWT_SECRET = randomBytes(32).toString('base64')
const endpoint = await startLocalEndpoint({
  // What is shown follows at once; otherwise a client id may connect once a second, as in IoT Core.
  limits: { connectsPerSecond: Infinity },
  authorizers: {
    UnsignedAuthorizer: { handler: unsignedAuthorizer.handler, signingDisabled: true },
    SignedAuthorizer: {
      handler: signedAuthorizer.handler,
      tokenKeyName: 'token',
      tokenSigningPublicKeys: { 'key-1': publicKey.export({ type: 'spki', format: 'pem' }) },
    },
    // A path in place of the function: loaded again whenever the file changes.
    JwtAuthorizer: {
      module: fileURLToPath(new URL('jwt-authorizer.mjs', import.meta.url)),
      signingDisabled: true,
    },
  },
})

const password = (value) => ({
  endpoint: endpoint.endpoint,
  port: endpoint.port,
  ca_file: endpoint.caFile,
  client_id: 'thermostat-7',
  custom_auth_authorizer_name: 'UnsignedAuthorizer',
  custom_auth_username: 'thermostat-7',
  custom_auth_password: value,
  topic: 'devices/thermostat-7/hello',
  count: 1,
})

const token = `thermostat-8.${Math.floor(Date.now() / 1000) + 3600}`
const signed = {
  endpoint: endpoint.endpoint,
  port: endpoint.port,
  ca_file: endpoint.caFile,
  client_id: 'thermostat-8',
  custom_auth_authorizer_name: 'SignedAuthorizer',
  custom_auth_token_key_name: 'token',
  custom_auth_token_value: token,
  custom_auth_authorizer_signature: sign('RSA-SHA256', Buffer.from(token), privateKey).toString('base64'),
  topic: 'devices/thermostat-8/hello',
  count: 1,
}

const jwt = {
  ...password(
    await new SignJWT({ sub: 'thermostat-9' })
      .setProtectedHeader({ alg: 'HS256' })
      .setExpirationTime('1h')
      .sign(new TextEncoder().encode(process.env.JWT_SECRET)),
  ),
  client_id: 'thermostat-9',
  custom_auth_authorizer_name: 'JwtAuthorizer',
  custom_auth_username: 'thermostat-9',
  topic: 'devices/thermostat-9/hello',
}

console.log(`IoT Core's front door runs at ${endpoint.endpoint}:${endpoint.port}, on this machine alone.`)
const asShown = []
try {
  asShown.push(await show('1. User name and password', password('Zq7-drizzle-4410'), 0))
  asShown.push(await show('2. Signed token', signed, 0))
  asShown.push(await show('3. JSON Web Token as the password', jwt, 0))
  asShown.push(await show('4. Wrong password: refused', password('guessed'), 1))
} finally {
  await endpoint.close()
}

heading('The same against AWS')
console.log('  aws iot describe-endpoint --endpoint-type iot:Data-ATS')
console.log(
  '  node dist/index.js --endpoint <that> --client_id thermostat-7 \\\n' +
    '    --custom_auth_authorizer_name UnsignedAuthorizer \\\n' +
    '    --custom_auth_username thermostat-7 --custom_auth_password <password>',
)
console.log('  The client id must be one that the policy allows.')
if (asShown.includes(false)) process.exitCode = 1

/** Runs the command line and shows both sides of it; false if it did not end as it should. */
async function show(title, flags, expectedCode) {
  heading(title)
  const args = Object.entries(flags).map(([name, value]) => [`--${name}`, String(value)])
  console.log(indent(`$ node dist/index.js ${shorten(joinFlags(args))}`))
  const calls = endpoint.invocations.length
  const { code, output } = await run(args.flat())
  console.log(style(code === 0 ? 'green' : 'yellow', indent(wrap(output.trimEnd()), '  | ')))
  console.log(indent(`exit code ${code}`))

  const call = endpoint.invocations[calls]
  if (call) {
    label('The authorizer received')
    console.log(indent(print(call.event), '    '))
    label('and answered')
    console.log(indent(printAnswer(call.response ?? call.error), '    '))
  }
  const refusal = endpoint.events.findLast(({ type }) => type === 'connected' || type === 'connect-refused')
  if (refusal?.type === 'connect-refused') {
    label('The endpoint noted, for IoT Core tells the client no more than it did above')
    console.log(indent(`${refusal.rule}: ${refusal.message}`, '    '))
  }
  const asExpected = code === expectedCode && call !== undefined
  if (!asExpected) console.log(style('red', indent(`This should have ended with exit code ${expectedCode}.`)))
  return asExpected
}

function run(args) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CLI, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: PATIENCE_MS,
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => (output += text))
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code: code ?? signal, output }))
  })
}

function heading(text) {
  console.log(`\n${style('bold', text)}`)
}

function label(text) {
  console.log(style('dim', indent(`${text}:`)))
}

/** One flag after the other, in lines that fit a terminal. */
function joinFlags(args) {
  let line = ''
  let text = ''
  for (const flag of args.map((pair) => pair.map(quote).join(' '))) {
    if (line !== '' && line.length + flag.length > 80) {
      text += `${line} \\\n    `
      line = ''
    }
    line += (line === '' ? '' : ' ') + flag
  }
  return text + line
}

function quote(text) {
  return /^[\w./:@=+-]+$/.test(text) ? text : `'${text}'`
}

function print(value) {
  return shorten(inspect(value, { depth: null, breakLength: 110, compact: true }))
}

/** The policy as one line a statement, without the account's part of each ARN. */
function printAnswer({ policyDocuments = [], ...answer }) {
  const statements = policyDocuments.flatMap((document) => document.Statement)
  const line = ({ Effect, Action, Resource }) => `${Effect} ${Action} on ${Resource.split(':').at(-1)}`
  return [print(answer), ...statements.map(line)].join('\n')
}

/** Breaks lines at the last space before 100 characters. */
function wrap(text) {
  return text.replace(/(?=.{101})(.{1,100}) /g, '$1\n')
}

function indent(text, by = '  ') {
  return text.replace(/^/gm, by)
}

function style(format, text) {
  return process.stdout.isTTY && !process.env.NO_COLOR ? styleText(format, text) : text
}

/** A signature has 344 characters; the first few tell enough. */
function shorten(text) {
  return text.replace(/[\w+/%=]{100,}/g, (long) => `${long.slice(0, 16)}…`)
}
