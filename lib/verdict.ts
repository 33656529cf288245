// What a diagnosis comes to: one sentence, and what to do next.
import { isIP } from 'node:net'
import type * as api from '../index.js'
import type { MqttError } from './errors.js'
import type { NativeLogin } from './native.js'

/** What was diagnosed. */
export interface Subject extends Pick<api.ConnectOptions, 'endpoint' | 'transport' | 'websocket'> {
  topic: string | undefined
  clientId: string
  /** What was logged in with, whoever gave it. */
  login: NativeLogin
}

/** What was found. */
export interface Findings {
  steps: api.DiagnosisStep[]
  /** Of the step at which the way ended. */
  error: MqttError | undefined
  /** It is a refusal, and what was refused may be a login. */
  refused: boolean
}

export function conclude(subject: Subject, findings: Findings): api.Diagnosis {
  const { steps } = findings
  const signature = steps.find(({ name, outcome }) => name === 'signature' && outcome === 'failed')
  const accepted = steps.some(({ name, outcome }) => name === 'connack' && outcome === 'passed')
  const refused = isRefusal(findings)
  // A signature that does not fit explains the refusal of a login, and nothing else.
  const first = refused && !accepted ? signature?.error : undefined
  const error = (first ?? findings.error ?? signature?.error) as MqttError | undefined
  const [verdict, next] =
    error === undefined
      ? [success(subject, steps), afterSuccess(steps)]
      : error === signature?.error && accepted
        ? [`${subject.endpoint} accepted the connection although ${error.message}.`, OTHER_KEY]
        : [failure(error, steps), error.hint]
  return {
    ok: error === undefined,
    verdict,
    next,
    commands: refused ? awsCommands(subject) : [],
    steps,
    warnings: subject.login.warnings,
    ...(error !== undefined && { error }),
  }
}

const OTHER_KEY =
  'Either the authorizer does not check signatures (signingDisabled), or the key given is none of its tokenSigningPublicKeys: `aws iot describe-authorizer` shows both.'

/** With both probes denied, both are named. */
function failure(error: MqttError, steps: readonly api.DiagnosisStep[]): string {
  const other = steps.find((step) => step.name === 'publish' && step.outcome === 'failed')?.error
  const more = other === undefined || other.message === error.message ? '' : `; ${other.message}`
  return `${error.message}${more}.`
}

/** The login or the policy, which only AWS's side can tell more of. */
function isRefusal({ error, refused }: Findings): boolean {
  if (error === undefined) return false
  const { code, reasonCode, stage } = error
  if (code === 'ERR_NOT_AUTHORIZED' || code === 'ERR_CLOSED_BEFORE_CONNACK') return true
  if (code === 'ERR_SUSPECTED_POLICY' || code === 'ERR_SUBSCRIBE_REJECTED') return true
  if (code === 'ERR_PUBLISH_REJECTED' || reasonCode === 0x87) return true
  return stage === 'websocket' && refused
}

function success({ endpoint, topic }: Subject, steps: readonly api.DiagnosisStep[]): string {
  const passed = (step: api.DiagnosisStep['name']): boolean =>
    steps.some(({ name, outcome }) => name === step && outcome === 'passed')
  if (!passed('connack')) {
    return `The way to ${endpoint} is open; CONNECT was not sent, so the login was not tried.`
  }
  const allowed = [passed('subscribe') && 'subscribe to', passed('publish') && 'publish to'].filter(Boolean)
  const permission = allowed.length === 0 ? '' : `, and allowed to ${allowed.join(' and to ')} ${topic}`
  return `${endpoint} accepted the connection${permission}.`
}

function afterSuccess(steps: readonly api.DiagnosisStep[]): string {
  const failed = steps.some(({ name, outcome }) => name === 'tcp' && outcome === 'failed')
  const address =
    'Not every address of the endpoint answers from here: a connection that tries one of those first takes longer.'
  const skipped = steps.filter(({ name, outcome }) => outcome === 'skipped' && name !== 'signature')
  return [...(failed ? [address] : []), ...skipped.map(({ seen }) => capital(`${seen[0]}.`))].join(' ')
}

/**
 * What to run next on AWS's side, with everything filled in that is no secret. Secrets come from variables, and so does
 * the user name, which may hold one. test-invoke-authorizer checks neither ALPN, SNI nor iot:Connect.
 */
function awsCommands(subject: Subject): string[] {
  const { endpoint, clientId, login } = subject
  if (endpoint === 'localhost' || isIP(endpoint) !== 0) return []
  const [, region] = /\.iot\.([a-z0-9-]+)\.(?:vpce\.)?amazonaws\./iu.exec(endpoint) ?? []
  const at = region === undefined ? '' : ` --region ${region}`
  const authorizerName = login.authorizerName || nameInside(login.username)
  const isOfAws = region !== undefined
  const named = authorizerName === undefined ? '"$AUTHORIZER"' : quoted(authorizerName)
  const describe =
    authorizerName === undefined && isOfAws
      ? `aws iot describe-default-authorizer${at}`
      : `aws iot describe-authorizer${at} --authorizer-name=${named}`
  const query = (member: string): string =>
    `$(${describe} --query authorizerDescription.${member} --output text)`
  const password = `"password":"'"$(printf %s "$DEVICE_PASSWORD" | openssl base64 -A)"'"`
  const context = [
    ...(login.username ? [variable('username', 'DEVICE_USERNAME')] : []),
    ...(login.hasPassword ? [password] : []),
    `"clientId":${literal(clientId)}`,
  ]
  const testInvoke = [
    `aws iot test-invoke-authorizer${at}`,
    `--authorizer-name=${named}`,
    ...(login.hasToken ? ['--token "$DEVICE_TOKEN" --token-signature "$DEVICE_SIGNATURE"'] : []),
    ...httpContext(subject),
    `--mqtt-context '{${context.join(',')}}'`,
  ]
  return [
    // A domain of the customer's own has a default authorizer of its own.
    ...(authorizerName === undefined && !isOfAws
      ? [
          'aws iot list-domain-configurations',
          `AUTHORIZER=$(aws iot describe-domain-configuration --domain-configuration-name "$DOMAIN_CONFIGURATION" --query authorizerConfig.defaultAuthorizerName --output text)`,
        ]
      : []),
    describe,
    ...(authorizerName === undefined && isOfAws ? [`AUTHORIZER=${query('authorizerName')}`] : []),
    `FUNCTION=${query('authorizerFunctionArn')}`,
    `aws lambda get-policy${at} --function-name "$FUNCTION"`,
    testInvoke.join(' '),
    // Without the version or alias that may stand behind it.
    'FUNCTION="${FUNCTION##*:function:}"',
    `aws logs tail${at} --since 15m "/aws/lambda/\${FUNCTION%%:*}"`,
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

/** What the Lambda reads of a request for a WebSocket. */
function httpContext({ transport, websocket = {} }: Subject): string[] {
  if (transport !== 'websocket') return []
  const { path = '', credentialsIn, headers = {} } = websocket
  const names = Object.keys(headers)
  const fields = names.map((name) => variable(name, `HEADER_${name.toUpperCase().replaceAll(/\W/gu, '_')}`))
  const query = path.includes('?') || credentialsIn === 'query'
  const members = [
    ...(query ? [variable('queryString', 'DEVICE_QUERY')] : []),
    ...(names.length > 0 ? [`"headers":{${fields.join(',')}}`] : []),
  ]
  return members.length === 0 ? [] : [`--http-context '{${members.join(',')}}'`]
}

/** A member of a JSON text in single quotes, its value a variable of the shell. */
function variable(member: string, name: string): string {
  return `${literal(member)}:"'"$${name}"'"`
}

/** A string of a JSON text in single quotes. */
function literal(text: string): string {
  return JSON.stringify(text).replaceAll("'", `'\\''`)
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)
