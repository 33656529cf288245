import type { Authorizers } from './authorizer'
import { isObject } from '../options'
import type { AuthorizerAnswer } from './authorizer-answer'

/** The input of `aws iot test-invoke-authorizer`. */
export interface TestInvocation {
  /** Without one, the default authorizer. */
  authorizerName?: string
  token?: string
  /** base64 */
  tokenSignature?: string
  httpContext?: { headers?: Record<string, string>; queryString?: string }
  /** `password` is base64 already. */
  mqttContext?: { username?: string; password?: string; clientId?: string }
  tlsContext?: { serverName?: string }
}

/** Its output. Policy documents are JSON text, as in the AWS API. */
export interface TestInvocationResult {
  isAuthenticated: boolean
  principalId?: string
  policyDocuments?: string[]
  refreshAfterInSeconds?: number
  disconnectAfterInSeconds?: number
}

/** The members that each part of an invocation may have. */
const MEMBERS: Readonly<Record<string, readonly string[]>> = {
  '': ['authorizerName', 'token', 'tokenSignature', 'httpContext', 'mqttContext', 'tlsContext'],
  httpContext: ['headers', 'queryString'],
  mqttContext: ['username', 'password', 'clientId'],
  tlsContext: ['serverName'],
}

/** Throws a TypeError for an input that the AWS call would not take. Rejects with an error that names the rule if the signature or the answer does not hold. */
export async function testInvokeAuthorizer(
  authorizers: Authorizers,
  connectionId: string,
  invocation: TestInvocation,
): Promise<TestInvocationResult> {
  checkInvocation(invocation)
  const { authorizerName, token, tokenSignature, httpContext, mqttContext, tlsContext } = invocation
  const { password, ...mqtt } = mqttContext ?? {}
  const answer = await authorizers.test(authorizerName, token, tokenSignature, {
    connectionId,
    ...(tlsContext?.serverName !== undefined && { serverName: tlsContext.serverName }),
    ...(httpContext !== undefined && {
      http: {
        headers: Object.fromEntries(
          Object.entries(httpContext.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]),
        ),
        queryString: httpContext.queryString ?? '',
      },
    }),
    ...(mqttContext !== undefined && {
      mqtt: { ...mqtt, ...(password !== undefined && { password: Buffer.from(password, 'base64') }) },
    }),
  })
  return describe(answer)
}

function describe({ policyDocuments, ...rest }: AuthorizerAnswer): TestInvocationResult {
  return {
    ...rest,
    ...(policyDocuments !== undefined && { policyDocuments: policyDocuments.map(({ source }) => source) }),
  }
}

function checkInvocation(invocation: unknown): void {
  for (const [part, members] of Object.entries(MEMBERS)) {
    const value = part === '' ? invocation : (invocation as Record<string, unknown>)[part]
    if (value === undefined && part !== '') continue
    const where = part === '' ? 'the invocation' : part
    if (!isObject(value)) throw new TypeError(`testInvokeAuthorizer: ${where} must be an object`)
    const unknown = Object.keys(value).find((member) => !members.includes(member))
    if (unknown !== undefined) {
      throw new TypeError(
        `testInvokeAuthorizer: ${where} has no member "${unknown}"; its members are: ${members.join(', ')}`,
      )
    }
  }
  const { password } = (invocation as TestInvocation).mqttContext ?? {}
  if (password === undefined) return
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(password)) {
    throw new TypeError(
      "testInvokeAuthorizer: mqttContext.password must be base64, as in the AWS call: Buffer.from(password).toString('base64')",
    )
  }
}
