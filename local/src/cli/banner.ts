import type { Authorizer } from '../authorizer'
import type { LocalEndpoint, LocalEndpointOptions } from '../endpoint'
import type { Paint } from './paint'

/** What is said once at the start: where it listens, whom it trusts, and the commands to paste. */
export function banner(
  endpoint: LocalEndpoint,
  options: LocalEndpointOptions,
  caFile: string,
  paint: Paint,
): string {
  const lines = [
    paint('strong', `IoT Core's front door runs at ${endpoint.endpoint}:${endpoint.port}`) +
      ` (profile ${options.profile}).`,
    `Its certificate authority: ${caFile}`,
    ...endpoint.warnings.map((warning) => paint('warning', `Warning: ${warning}`)),
  ]
  for (const [name, authorizer] of Object.entries(options.authorizers)) {
    lines.push(
      '',
      paint('strong', `${name}: ${describe(authorizer)}`),
      ...commands(name, authorizer, endpoint, caFile),
    )
  }
  return `${lines.join('\n')}\n\nCtrl-C ends it. What happens follows.\n\n`
}

function describe({ module, lambda, signingDisabled, tokenKeyName, status }: Authorizer): string {
  const kind =
    module !== undefined ? module : lambda ? `${lambda.functionName} at ${lambda.endpoint}` : 'a function'
  const signing = signingDisabled === true ? 'unsigned' : `token "${tokenKeyName}", signed`
  return `${kind}, ${signing}${status === 'INACTIVE' ? ', INACTIVE' : ''}`
}

function commands(
  name: string,
  authorizer: Authorizer,
  { endpoint, port }: LocalEndpoint,
  caFile: string,
): string[] {
  const { signingDisabled, tokenKeyName } = authorizer
  const where = `--endpoint ${endpoint} --port ${port} --ca_file ${quote(caFile)} --client_id my-device`
  const login =
    signingDisabled === true
      ? '--custom_auth_username my-device --custom_auth_password env:DEVICE_PASSWORD'
      : `--custom_auth_token_key_name ${tokenKeyName} --custom_auth_token_value env:TOKEN --custom_auth_authorizer_signature env:SIGNATURE`
  const ours = `  npx custom-authorizer-connect ${where} \\\n    --custom_auth_authorizer_name ${quote(name)} ${login}`
  if (signingDisabled !== true) return [ours]
  const user = quote(`my-device?x-amz-customauthorizer-name=${name}`)
  return [
    ours,
    `  mosquitto_pub -h ${endpoint} -p ${port} --cafile ${quote(caFile)} --tls-alpn mqtt -i my-device \\\n` +
      `    -u ${user} -P "$DEVICE_PASSWORD" -t test -m hello`,
  ]
}

/** For a shell. */
const quote = (text: string): string =>
  /^[\w./:@%+=,-]+$/u.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
