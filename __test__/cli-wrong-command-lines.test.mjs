import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startLocalEndpoint } from 'custom-authorizer-local'
import { passwordAuthorizer } from './support/authorizers.mjs'
import { cli } from './support/cli.mjs'

// What a new user types, and what each line prints: all of it, so that a change of words is seen.

const ENDPOINT = 'abc123-ats.iot.eu-west-1.amazonaws.com'
const PRINTS_IT = '`aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints the name.'

for (const [what, args, expected] of [
  [
    'nothing at all',
    [],
    `ERR_INVALID_OPTION (options): --endpoint is required.
Usage: custom-authorizer-connect [diagnose] --endpoint <host> [flags]
Run with --help to see every flag.`,
  ],
  [
    'the endpoint as a URL',
    ['--endpoint', `https://${ENDPOINT}`],
    `ERR_INVALID_OPTION (options): --endpoint must be a host name alone, such as ${ENDPOINT}; it is a URL: leave out the scheme and everything after the name
${PRINTS_IT}`,
  ],
  [
    'the port in the endpoint',
    ['--endpoint', `${ENDPOINT}:8883`],
    `ERR_INVALID_OPTION (options): --endpoint must be a host name alone, such as ${ENDPOINT}; it holds a port: use --port
${PRINTS_IT}`,
  ],
  [
    'a flag with a typing error',
    ['--endpoit', ENDPOINT],
    `ERR_INVALID_OPTION (options): Unknown flag --endpoit.
Did you mean --endpoint? Run with --help to see every flag.`,
  ],
  [
    'the endpoint without its flag',
    [ENDPOINT],
    `ERR_INVALID_OPTION (options): Argument 1 is not a flag.
Every value follows its flag; one that holds spaces needs quotes.`,
  ],
  [
    'a token without the rest of it',
    ['--endpoint', ENDPOINT, '--custom_auth_token_value', 't'],
    `ERR_INCOMPLETE_TOKEN (options): the token is incomplete without --custom_auth_token_key_name and --custom_auth_authorizer_signature
A signed token needs all three: --custom_auth_token_key_name, --custom_auth_token_value, and
--custom_auth_authorizer_signature. For an authorizer without signing, put the token into the user
name: \`--custom_auth_username '?tok=value'\`.`,
  ],
  [
    'a variable that is not set',
    ['--endpoint', ENDPOINT, '--custom_auth_password', 'env:NOT_SET_ANYWHERE'],
    `ERR_INVALID_OPTION (options): --custom_auth_password names an environment variable that is not set.
env:NAME takes the value from the variable NAME; it has to be exported.`,
  ],
  [
    'a version of MQTT by its level',
    ['--endpoint', ENDPOINT, '--mqtt_version', '4'],
    `ERR_INVALID_OPTION (options): --mqtt_version must be 3 or 5, where 3 means MQTT 3.1.1.
Run with --help to see every flag.`,
  ],
  [
    'a signature that is none',
    [
      '--endpoint',
      ENDPOINT,
      '--custom_auth_token_key_name',
      'tok',
      '--custom_auth_token_value',
      't',
      '--custom_auth_authorizer_signature',
      'not base64',
    ],
    `ERR_INVALID_OPTION (options): --custom_auth_authorizer_signature is not base64
Give the signature as base64, base64url, or either of them percent-encoded once. A space in it is
usually a '+' that a query parser has replaced.`,
  ],
]) {
  test(`${what}: exit code 2, and what to write instead`, async () => {
    const { code, stderr } = await cli(args)
    assert.deepEqual({ code, stderr }, { code: 2, stderr: `${expected}\n` })
  })
}

const local = (t) =>
  startLocalEndpoint({ authorizers: { Fleet: passwordAuthorizer('me', 'sesame') } }).then((started) => {
    t.after(() => started.close())
    return started
  })

test('an authority that is not trusted: exit code 1, and where it belongs', async (t) => {
  const { port } = await local(t)
  const { code, stderr } = await cli(['--endpoint', 'localhost', '--port', String(port)])
  assert.equal(code, 1)
  assert.equal(
    stderr,
    `ERR_TLS_CERTIFICATE (tls): the certificate of localhost:${port} comes from an authority that is not trusted here (for localhost); its issuer is CN=custom-authorizer-local CA
A private authority belongs into --ca_file, and so does that of a proxy that inspects TLS, or into
NODE_EXTRA_CA_CERTS. A server whose intermediate certificate is missing fails so too.
`,
  )
})

test('a wrong authorizer name: exit code 1, and the list of what may be the reason', async (t) => {
  const { port, caFile } = await local(t)
  const { code, stderr } = await cli([
    '--endpoint',
    'localhost',
    '--port',
    String(port),
    '--ca_file',
    caFile,
    '--client_id',
    'thermostat-7',
    '--custom_auth_authorizer_name',
    'Flete',
    '--custom_auth_username',
    'me',
  ])
  assert.equal(code, 1)
  assert.equal(
    stderr,
    `ERR_CLOSED_BEFORE_CONNACK (connack): localhost:${port} closed the connection after CONNECT, without an answer
This is how IoT Core refuses a login without a word. In order of likelihood:
  1. the authorizer answered isAuthenticated: false
  2. its policy does not allow iot:Connect for the client id "thermostat-7", or no session that is
     kept (iot:ConnectAttributes, PersistentConnect)
  3. the authorizer name "Flete" is wrong or the authorizer is INACTIVE
  4. the authorizer takes signed tokens only (signingDisabled is not set), and none was sent
  5. IoT Core may not invoke the Lambda (aws lambda add-permission)
  6. the Lambda failed, took over 5 s or gave an invalid answer
On localhost the log of custom-authorizer-local tells which; on AWS \`aws iot test-invoke-authorizer\`
and the Lambda's log.
`,
  )
})
