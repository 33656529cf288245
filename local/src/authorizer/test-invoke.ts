import type { Authorizers } from './authorizer'
import type { Grant } from './authorizer-answer'

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

/** Rejects with an error that names the rule if the signature or the answer does not hold. */
export async function testInvokeAuthorizer(
  authorizers: Authorizers,
  connectionId: string,
  { authorizerName, token, tokenSignature, httpContext, mqttContext, tlsContext }: TestInvocation,
): Promise<TestInvocationResult> {
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
  return answer.isAuthenticated ? describe(answer) : { isAuthenticated: false }
}

function describe({ policyDocuments, ...grant }: Grant): TestInvocationResult {
  return { ...grant, policyDocuments: policyDocuments.map(({ source }) => source) }
}
