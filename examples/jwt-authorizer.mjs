// A custom authorizer for JSON Web Tokens: the whole Lambda function. The token travels as the password,
// or, for a client that has none, as the parameter "token" of the user name.
//
//   aws iot create-authorizer --authorizer-name JwtAuthorizer --status ACTIVE --signing-disabled \
//     --token-key-name token --authorizer-function-arn <ARN of this function>
//
// In the function's environment, either JWT_SECRET (HS256, at least 32 bytes) or JWT_JWKS_FILE, a JSON Web
// Key Set with the public keys (RS256 or ES256); JWT_ISSUER and JWT_AUDIENCE if the tokens name them.
import { readFileSync } from 'node:fs'
import { createLocalJWKSet, jwtVerify } from 'jose'

const { JWT_SECRET = '', JWT_JWKS_FILE, JWT_ISSUER, JWT_AUDIENCE } = process.env
if (!JWT_JWKS_FILE && Buffer.byteLength(JWT_SECRET) < 32) {
  throw new Error('set JWT_SECRET to at least 32 bytes, or JWT_JWKS_FILE')
}

const key = JWT_JWKS_FILE
  ? createLocalJWKSet(JSON.parse(readFileSync(JWT_JWKS_FILE, 'utf8')))
  : new TextEncoder().encode(JWT_SECRET)
// Never what the token says: that would let its bearer choose.
const algorithms = JWT_JWKS_FILE ? ['RS256', 'ES256'] : ['HS256']

export const handler = async ({ token, protocolData }, { invokedFunctionArn }) => {
  const { password = '' } = protocolData.mqtt ?? {}
  const claims = await verify(token ?? Buffer.from(password, 'base64').toString())
  // The subject becomes a part of the policy, where "*" and "?" would be wildcards.
  const device = claims?.sub
  if (typeof device !== 'string' || !/^[a-zA-Z0-9_-]{1,128}$/.test(device)) return { isAuthenticated: false }
  const principalId = device.replace(/[^a-zA-Z0-9]/g, '') // letters and digits only
  if (principalId === '') return { isAuthenticated: false }

  const secondsLeft = Math.floor(claims.exp - Date.now() / 1000)
  return {
    isAuthenticated: true,
    principalId,
    // IoT Core ends the connection with the token; both numbers must be 300 to 86400.
    disconnectAfterInSeconds: Math.min(Math.max(secondsLeft, 300), 86_400),
    refreshAfterInSeconds: 300,
    policyDocuments: [policyFor(device, invokedFunctionArn)],
  }
}

/** The claims of a token that holds; undefined for any other. */
async function verify(token) {
  try {
    const { payload } = await jwtVerify(token, key, {
      algorithms,
      requiredClaims: ['sub', 'exp'],
      ...(JWT_ISSUER && { issuer: JWT_ISSUER }),
      ...(JWT_AUDIENCE && { audience: JWT_AUDIENCE }),
    })
    return payload
  } catch (error) {
    console.log(`token refused: ${error.code}`) // such as ERR_JWT_EXPIRED; never the token itself
    return undefined
  }
}

/** Least privilege: its own client id, and nothing but the topics below devices/<device>/. */
function policyFor(device, functionArn) {
  const [, partition, , region, account] = functionArn.split(':')
  const arn = (resource) => `arn:${partition}:iot:${region}:${account}:${resource}`
  return {
    Version: '2012-10-17',
    Statement: [
      { Effect: 'Allow', Action: 'iot:Connect', Resource: arn(`client/${device}`) },
      { Effect: 'Allow', Action: 'iot:Subscribe', Resource: arn(`topicfilter/devices/${device}/*`) },
      {
        Effect: 'Allow',
        Action: ['iot:Publish', 'iot:RetainPublish', 'iot:Receive'],
        Resource: arn(`topic/devices/${device}/*`),
      },
    ],
  }
}
