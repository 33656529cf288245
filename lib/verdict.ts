// What a diagnosis comes to: one sentence, and what to do next.
import { isIP } from 'node:net'
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

/** `login` is what was logged in with, whoever gave it. */
export function conclude(login: api.DiagnoseOptions, findings: Findings): api.Diagnosis {
  const { steps, warnings } = findings
  const signature = steps.find(({ name, outcome }) => name === 'signature' && outcome === 'failed')
  const accepted = steps.some(({ name, outcome }) => name === 'connack' && outcome === 'passed')
  // A signature that does not fit explains a refusal that comes after it.
  const error = (signature?.error as MqttError | undefined) ?? findings.error
  const refused = findings.error !== undefined && isRefusal(findings.error)
  return {
    ok: error === undefined,
    verdict:
      error === undefined
        ? success(login, steps)
        : signature !== undefined && accepted
          ? `${login.endpoint} accepted the connection, but ${error.message}: the key given is not the authorizer's.`
          : `${error.message}.`,
    next: error === undefined ? afterSuccess(steps) : error.hint,
    commands: refused ? awsCommands(login, findings.clientId) : [],
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
 * What to run next on AWS's side, with everything filled in that is no secret. Secrets come from variables, and so does
 * the user name, which may hold one. test-invoke-authorizer checks neither ALPN, SNI nor iot:Connect.
 */
function awsCommands(login: api.DiagnoseOptions, clientId: string): string[] {
  const { endpoint, username, tokenKeyName } = login
  if (endpoint === 'localhost' || isIP(endpoint) !== 0) return []
  const [, region] = /\.iot\.([a-z0-9-]+)\.(?:vpce\.)?amazonaws\./iu.exec(endpoint) ?? []
  const at = region === undefined ? '' : ` --region ${region}`
  const authorizerName = login.authorizerName || nameInside(username)
  const describe =
    authorizerName === undefined
      ? `aws iot describe-default-authorizer${at}`
      : `aws iot describe-authorizer${at} --authorizer-name=${quoted(authorizerName)}`
  const query = (member: string): string =>
    `$(${describe} --query authorizerDescription.${member} --output text)`
  const context = [
    username !== undefined && `"username":"'"$DEVICE_USERNAME"'"`,
    login.password !== undefined && `"password":"'"$(printf %s "$DEVICE_PASSWORD" | openssl base64 -A)"'"`,
    `"clientId":${JSON.stringify(clientId).replaceAll("'", `'\\''`)}`,
  ].filter((part) => part !== false)
  const token =
    tokenKeyName === undefined ? '' : ' --token "$DEVICE_TOKEN" --token-signature "$DEVICE_SIGNATURE"'
  return [
    describe,
    ...(authorizerName === undefined ? [`AUTHORIZER=${query('authorizerName')}`] : []),
    `FUNCTION=${query('authorizerFunctionArn')}`,
    `aws lambda get-policy${at} --function-name "$FUNCTION"`,
    `aws iot test-invoke-authorizer${at} --authorizer-name=${
      authorizerName === undefined ? '"$AUTHORIZER"' : quoted(authorizerName)
    }${token} --mqtt-context '{${context.join(',')}}'`,
    `aws logs tail${at} --since 15m "/aws/lambda/\${FUNCTION##*:}"`,
    `aws logs tail${at} --since 15m --filter-pattern ${quoted(JSON.stringify(clientId))} AWSIotLogsV2`,
  ]
}

/** The authorizer that the user name asks for itself. */
function nameInside(username: string | undefined): string | undefined {
  const [, name] = /[?&]x-amz-customauthorizer-name=([^&?]+)/iu.exec(username ?? '') ?? []
  try {
    return name && decodeURIComponent(name)
  } catch {
    return name
  }
}

/** For a shell, as it is. */
function quoted(text: string): string {
  return /^[\w./:@%+=,-]+$/u.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)
