import { existsSync } from 'node:fs'
import { isIP } from 'node:net'
import { join, relative } from 'node:path'
import type { Authorizer } from '../authorizer/authorizer'
import {
  DEFAULT_ACCOUNT_ID,
  DEFAULT_REGION,
  type LocalEndpoint,
  type LocalEndpointOptions,
} from '../endpoint'
import type { Paint } from './paint'

export interface Start {
  endpoint: LocalEndpoint
  options: LocalEndpointOptions
  /** Of these nothing was said about signing. */
  assumedUnsigned: readonly string[]
  caFile: string
}

/** What is said once at the start: where it listens, whom to trust, and the commands to paste. */
export function banner(start: Start, paint: Paint): string {
  const { endpoint, options, caFile } = start
  const { host = '127.0.0.1', profile, defaultAuthorizer } = options
  const { region = DEFAULT_REGION, accountId = DEFAULT_ACCOUNT_ID } = options
  const name = nameForClients(endpoint, options)
  const lines = [
    paint('strong', `IoT Core's front door listens at ${name}:${endpoint.port}`) + ` (address ${host}).`,
    `CA certificate to trust: ${caFile}`,
    profile === 'friendly'
      ? 'Profile friendly (default here): MQTT 5 clients are told why they are refused. --profile aws refuses as silently as IoT Core.'
      : 'Profile aws: refuses as silently as IoT Core does. --profile friendly tells MQTT 5 clients why.',
    `Region ${region}, account ${accountId}: what ARNs in policies are compared with (--region, --account-id).`,
  ]
  for (const [authorizerName, authorizer] of Object.entries(options.authorizers)) {
    const isDefault = authorizerName === defaultAuthorizer ? ', the default' : ''
    lines.push(
      '',
      paint('strong', `Authorizer ${authorizerName}${isDefault}`) + `: ${describeHandler(authorizer)}`,
      `  ${describeSigning(authorizer, start.assumedUnsigned.includes(authorizerName))}`,
      ...commands(authorizerName, authorizer, { name, port: endpoint.port, caFile }).map(
        (line) => `  ${line}`,
      ),
    )
  }
  lines.push('', 'Ctrl-C ends it. What happens follows.', '')
  return `${lines.join('\n')}\n`
}

/** A server name (SNI) is required, so it cannot be an address. */
function nameForClients(
  { endpoint }: LocalEndpoint,
  { host = '', hostNames = [] }: LocalEndpointOptions,
): string {
  const answersAtLocalhost =
    ['', '0.0.0.0', '::', '::1', 'localhost'].includes(host) || host.startsWith('127.')
  return answersAtLocalhost ? endpoint : (hostNames.find((name) => isIP(name) === 0) ?? endpoint)
}

function describeHandler({ handler, module, lambda, status }: Authorizer): string {
  const path = module ?? (typeof handler === 'string' ? handler : undefined)
  const what =
    path !== undefined
      ? `module ${path}, loaded again when it changes`
      : lambda !== undefined
        ? `Lambda function ${lambda.functionName} at ${lambda.endpoint}`
        : 'function of the config file'
  return status === 'INACTIVE' ? `${what}; INACTIVE, it refuses everybody` : what
}

function describeSigning(
  { signingDisabled, tokenKeyName, tokenSigningPublicKeys = {} }: Authorizer,
  assumed: boolean,
): string {
  if (assumed)
    return 'Unsigned: neither --public-key nor --signing-disabled was given, so no signature is checked.'
  if (signingDisabled === true) return 'Unsigned: signing is disabled.'
  const keys = Object.keys(tokenSigningPublicKeys)
  return `Signed: token in "${tokenKeyName}", checked with ${keys.length === 1 ? 'one key' : `${keys.length} keys`} (${keys.join(', ')}).`
}

interface Target {
  name: string
  port: number
  caFile: string
}

/** Secrets come from the environment. */
function commands(authorizerName: string, authorizer: Authorizer, { name, port, caFile }: Target): string[] {
  const { needs, flags, parameters, password = '' } = describeLogin(authorizer)
  const ours =
    `--endpoint ${name} --port ${port} --ca_file ${quote(caFile)} --client_id my-device ` +
    `--custom_auth_authorizer_name ${quote(authorizerName)} ${flags}`
  const user = `my-device?x-amz-customauthorizer-name=${encodeURIComponent(authorizerName)}${parameters}`
  return [
    `Set ${needs}, put a client id and a topic that your policy allows for my-device, then one of:`,
    `${clientCommand()} ${ours}`,
    `mosquitto_pub -h ${name} -p ${port} --cafile ${quote(caFile)} --tls-alpn mqtt -i my-device ` +
      `-u "${user}"${password} -q 1 -t devices/my-device/temperature -m 21.5`,
  ]
}

/** The client lies beside this package in its repository; elsewhere it is installed. */
function clientCommand(): string {
  const path = join(__dirname, '../../../dist/index.js')
  const beside = existsSync(join(__dirname, '../../../engine')) && existsSync(path)
  return beside ? `node ${quote(relative(process.cwd(), path))}` : 'npx custom-authorizer-connect'
}

interface Login {
  needs: string
  /** Of our own client. */
  flags: string
  /** Of the user name, for every other client. */
  parameters: string
  password?: string
}

function describeLogin({ signingDisabled, tokenKeyName }: Authorizer): Login {
  if (signingDisabled !== true) {
    return {
      needs:
        'DEVICE_TOKEN and DEVICE_SIGNATURE (for mosquitto_pub DEVICE_SIGNATURE_ENCODED, percent-encoded)',
      flags:
        `--custom_auth_token_key_name ${tokenKeyName} --custom_auth_token_value env:DEVICE_TOKEN ` +
        '--custom_auth_authorizer_signature env:DEVICE_SIGNATURE',
      parameters: `&${tokenKeyName}=$DEVICE_TOKEN&x-amz-customauthorizer-signature=$DEVICE_SIGNATURE_ENCODED`,
    }
  }
  if (tokenKeyName !== undefined) {
    return {
      needs: 'DEVICE_TOKEN',
      // The client has flags for signed tokens alone.
      flags: `--custom_auth_username "my-device?${tokenKeyName}=$DEVICE_TOKEN"`,
      parameters: `&${tokenKeyName}=$DEVICE_TOKEN`,
    }
  }
  return {
    needs: 'DEVICE_PASSWORD',
    flags: '--custom_auth_username my-device --custom_auth_password env:DEVICE_PASSWORD',
    parameters: '',
    password: ' -P "$DEVICE_PASSWORD"',
  }
}

/** For a shell. */
const quote = (text: string): string =>
  /^[\w./:@%+=,-]+$/u.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
