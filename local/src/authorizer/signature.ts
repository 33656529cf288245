import { constants, verify, type KeyObject } from 'node:crypto'

export type SignatureCheck =
  { verified: true; keyName: string } | { verified: false; rule: SignatureRule; message: string }

export type SignatureRule = 'signature-missing' | 'signature-not-base64' | 'signature-mismatch'

/** Checks `signature` (standard base64) over `token`: RSASSA-PKCS1-v1_5 with SHA-256, by any of the keys. */
export function checkSignature(
  token: string,
  signature: string | undefined,
  keys: ReadonlyMap<string, KeyObject>,
): SignatureCheck {
  if (signature === undefined || signature === '') {
    return fail('signature-missing', 'the token is not accompanied by x-amz-customauthorizer-signature')
  }
  const problem = base64Problem(signature)
  if (problem !== undefined) return fail('signature-not-base64', problem)

  const data = Buffer.from(token)
  const bytes = Buffer.from(signature, 'base64')
  for (const [keyName, key] of keys) {
    if (verify('RSA-SHA256', data, { key, padding: constants.RSA_PKCS1_PADDING }, bytes)) {
      return { verified: true, keyName }
    }
  }
  const names = [...keys.keys()].join(', ')
  return fail(
    'signature-mismatch',
    `the signature is not one of the token by any of the authorizer's public keys (${names}); ` +
      'signed are exactly the bytes of the token, with RSA PKCS#1 v1.5 over SHA-256',
  )
}

const fail = (rule: SignatureRule, message: string): SignatureCheck => ({ verified: false, rule, message })

function base64Problem(signature: string): string | undefined {
  if (/^[A-Za-z0-9+/]+={0,2}$/.test(signature)) {
    return signature.length % 4 === 0
      ? undefined
      : 'the signature has lost its base64 padding ("=" at the end)'
  }
  if (signature.includes(' ')) {
    return 'the signature contains a space: a "+" was sent without percent-encoding (%2B)'
  }
  if (/%[0-9a-f]{2}/i.test(signature)) return 'the signature was percent-encoded twice'
  if (/[-_]/.test(signature)) return 'the signature is base64url; standard base64 is expected'
  return 'the signature is not base64'
}
