// What a diagnosis comes to: one sentence, and what to do next.
import type * as api from '../index.js'
import type { MqttError } from './errors.js'

/** What was found. */
export interface Findings {
  steps: api.DiagnosisStep[]
  warnings: readonly string[]
  /** Of the step at which the way ended. */
  error: MqttError | undefined
  clientId: string
}

export function conclude(options: api.DiagnoseOptions, findings: Findings): api.Diagnosis {
  const { steps, warnings } = findings
  // A signature that does not fit explains what comes after it.
  const signature = steps.find(({ name, outcome }) => name === 'signature' && outcome === 'failed')
  const error = (signature?.error as MqttError | undefined) ?? findings.error
  const refused = findings.error !== undefined && isRefusal(findings.error)
  return {
    ok: error === undefined,
    verdict: error === undefined ? success(options, steps) : `${error.message}.`,
    next: error === undefined ? afterSuccess(steps) : error.hint,
    commands: refused ? awsCommands(options, findings.clientId) : [],
    steps,
    warnings,
    ...(error !== undefined && { error }),
  }
}

/** The login or the policy, which only AWS's side can tell more of. */
function isRefusal({ code, reasonCode, stage, message }: MqttError): boolean {
  if (code === 'ERR_NOT_AUTHORIZED' || code === 'ERR_CLOSED_BEFORE_CONNACK') return true
  if (code === 'ERR_SUSPECTED_POLICY' || code === 'ERR_SUBSCRIBE_REJECTED') return true
  if (code === 'ERR_PUBLISH_REJECTED' || reasonCode === 0x87) return true
  return stage === 'websocket' && /\b40[13]\b/u.test(message)
}

function success(options: api.DiagnoseOptions, steps: readonly api.DiagnosisStep[]): string {
  const { endpoint, topic } = options
  if (steps.some(({ name, outcome }) => name === 'connack' && outcome === 'skipped')) {
    return `The way to ${endpoint} is open; CONNECT was not sent, so the login was not tried.`
  }
  const published = steps.some(({ name }) => name === 'publish')
  const done = topic === undefined ? '' : `, and allowed to subscribe to ${topic}`
  return `${endpoint} accepted the connection${done}${published ? ' and to publish to it' : ''}.`
}

function afterSuccess(steps: readonly api.DiagnosisStep[]): string {
  const failed = steps.filter(({ name, outcome }) => name === 'tcp' && outcome === 'failed').length
  const address =
    failed === 0
      ? ''
      : 'Not every address of the endpoint answers from here: a connection that tries one of those first takes longer. '
  const skipped = steps.find(({ outcome, name }) => outcome === 'skipped' && name === 'connack')
  return `${address}${skipped === undefined ? '' : capital(`${skipped.seen[0]}.`)}`.trim()
}

/**
 * What to run next on AWS's side, with everything filled in that is no secret. Secrets come from variables.
 * test-invoke-authorizer checks neither ALPN, SNI nor iot:Connect.
 */
function awsCommands(options: api.DiagnoseOptions, clientId: string): string[] {
  const { endpoint, authorizerName, username, tokenKeyName } = options
  if (!/\.amazonaws\.com(\.cn)?$/iu.test(endpoint)) return []
  const [, region] = /\.iot\.([a-z0-9-]+)\.amazonaws\./iu.exec(endpoint) ?? []
  const at = region === undefined ? '' : ` --region ${region}`
  const describe =
    authorizerName === undefined
      ? `aws iot describe-default-authorizer${at}`
      : `aws iot describe-authorizer${at} --authorizer-name ${quoted(authorizerName)}`
  const name = authorizerName === undefined ? '"$AUTHORIZER"' : quoted(authorizerName)
  const context = [
    // It may hold a token.
    username !== undefined && 'username=$DEVICE_USERNAME',
    options.password !== undefined && 'password=$(printf %s "$DEVICE_PASSWORD" | openssl base64 -A)',
    `clientId=${literal(clientId)}`,
  ].filter((part) => part !== false)
  const token =
    tokenKeyName === undefined ? '' : ' --token "$DEVICE_TOKEN" --token-signature "$DEVICE_SIGNATURE"'
  return [
    describe,
    `FUNCTION=$(${describe} --query authorizerDescription.authorizerFunctionArn --output text)`,
    `aws lambda get-policy${at} --function-name "$FUNCTION"`,
    `aws iot test-invoke-authorizer${at} --authorizer-name ${name}${token} --mqtt-context "${context.join(',')}"`,
    `aws logs tail${at} --since 15m "/aws/lambda/\${FUNCTION##*:}"`,
    `aws logs tail${at} --since 15m --filter-pattern ${quoted(`"${clientId}"`)} AWSIotLogsV2`,
  ]
}

/** For a shell, as it is. */
function quoted(text: string): string {
  return /^[\w./:@%+=,-]+$/u.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

/** Between double quotes of a shell, as it is. */
const literal = (text: string): string => text.replace(/["\\`$]/gu, '\\$&')

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)
