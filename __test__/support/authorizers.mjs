import { createSign, generateKeyPairSync } from 'node:crypto'

/** What a Lambda authorizer answers to let a client do everything, or the actions named. */
export function allow(actions = ['iot:*']) {
  return {
    isAuthenticated: true,
    principalId: 'tester',
    disconnectAfterInSeconds: 3_600,
    refreshAfterInSeconds: 600,
    policyDocuments: [
      { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: actions, Resource: ['*'] }] },
    ],
  }
}

/** An authorizer without signing that lets this user in. `seen` holds the events it was called with. */
export function passwordAuthorizer(username, password, answer = allow()) {
  const seen = []
  const handler = async (event) => {
    seen.push(event)
    const { mqtt } = event.protocolData
    const given = Buffer.from(mqtt.password ?? '', 'base64').toString()
    const [name] = mqtt.username.split('?')
    return name === username && given === password ? answer : { isAuthenticated: false }
  }
  return { handler, signingDisabled: true, seen }
}

/** An authorizer that checks signatures, and a `sign` whose base64 has `+`, `/` and `=` to be encoded. */
export function signingAuthorizer(tokenKeyName) {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  const seen = []
  const handler = async (event) => {
    seen.push(event)
    return event.signatureVerified === true ? allow() : { isAuthenticated: false }
  }
  const sign = (token) => createSign('RSA-SHA256').update(token).sign(privateKey, 'base64')
  return {
    handler,
    tokenKeyName,
    tokenSigningPublicKeys: { first: publicKey },
    seen,
    privateKey,
    /** A token and its signature, the latter with every character that needs encoding. */
    signedToken() {
      for (let number = 1; ; number++) {
        const token = `token-${number}`
        const signature = sign(token)
        if (/\+/.test(signature) && /\//.test(signature)) return { token, signature }
      }
    },
  }
}
