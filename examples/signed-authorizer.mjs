// A custom authorizer for signed tokens: the whole Lambda function. IoT Core verifies the signature
// before it calls it, so nobody without the private key can make it run.
//
//   aws iot create-authorizer --authorizer-name SignedAuthorizer --status ACTIVE --token-key-name token \
//     --token-signing-public-keys key-1="$(cat public.pem)" --authorizer-function-arn <ARN of this function>
//
// A token is "<device>.<end of its life in Unix seconds>", such as "thermostat-8.1767225600".

export const handler = async ({ token, signatureVerified }, { invokedFunctionArn }) => {
  // True by now, unless somebody created the authorizer with --signing-disabled.
  if (!signatureVerified) return { isAuthenticated: false }

  const [, device, end] = /^([a-z0-9-]+)\.(\d+)$/.exec(token) ?? []
  const secondsLeft = Number(end) - Math.floor(Date.now() / 1000)
  if (!(secondsLeft > 0)) return { isAuthenticated: false }

  return {
    isAuthenticated: true,
    principalId: device.replaceAll('-', ''), // letters and digits only
    // IoT Core ends the connection with the token; both numbers must be 300 to 86400.
    disconnectAfterInSeconds: Math.min(Math.max(secondsLeft, 300), 86_400),
    refreshAfterInSeconds: 300,
    policyDocuments: [policyFor(device, invokedFunctionArn)],
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
