// A custom authorizer that checks a user name and a password: the whole Lambda function.
//
//   aws iot create-authorizer --authorizer-name UnsignedAuthorizer --status ACTIVE --signing-disabled \
//     --authorizer-function-arn <ARN of this function>
import { createHash, timingSafeEqual } from 'node:crypto'

// SHA-256 of each device's password. Fit for long random passwords, which is what a device should have;
// in production they come from a database or AWS Secrets Manager.
const PASSWORD_HASHES = {
  'thermostat-7': 'e7c2edf1ceca37cd2762accb6bcd5cdccc146e31b4738c0f2dd3062bcf8bf55b',
}

export const handler = async ({ protocolData }, { invokedFunctionArn }) => {
  // The user name arrives with its parameters: "thermostat-7?x-amz-customauthorizer-name=…".
  const { username = '', password = '' } = protocolData.mqtt ?? {}
  const device = username.split('?')[0]
  if (!passwordMatches(device, Buffer.from(password, 'base64'))) return { isAuthenticated: false }

  return {
    isAuthenticated: true,
    principalId: device.replace(/[^a-zA-Z0-9]/g, ''), // letters and digits only
    disconnectAfterInSeconds: 86_400,
    refreshAfterInSeconds: 3_600,
    policyDocuments: [policyFor(device, invokedFunctionArn)],
  }
}

function passwordMatches(device, password) {
  const expected = Object.hasOwn(PASSWORD_HASHES, device) ? PASSWORD_HASHES[device] : ''
  const actual = createHash('sha256').update(password).digest()
  return expected !== '' && timingSafeEqual(actual, Buffer.from(expected, 'hex'))
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
