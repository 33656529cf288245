import { createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { UsageError } from './usage-error'

const HOW = '`openssl pkey -in private.pem -pubout -out public.pem` makes one of the private key.'

/** @throws {UsageError} where the file holds no public key that IoT Core would take. */
export function readPublicKey(path: string): string {
  let pem: string
  try {
    pem = readFileSync(path, 'utf8')
  } catch (error) {
    throw new UsageError(`--public-key ${path} cannot be read: ${(error as Error).message}.`, HOW)
  }
  if (!pem.includes('-----BEGIN PUBLIC KEY-----')) {
    const what = pem.includes('PRIVATE KEY-----') ? 'is a private key' : 'is no PEM of a public key'
    throw new UsageError(`--public-key ${path} ${what}; it must begin with -----BEGIN PUBLIC KEY-----.`, HOW)
  }
  const key = (() => {
    try {
      return createPublicKey(pem)
    } catch (error) {
      throw new UsageError(`--public-key ${path} cannot be read as a key: ${(error as Error).message}.`, HOW)
    }
  })()
  if (key.asymmetricKeyType !== 'rsa' || (key.asymmetricKeyDetails?.modulusLength ?? 0) < 2048) {
    throw new UsageError(
      `--public-key ${path} must be an RSA key of at least 2048 bits.`,
      '`openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out private.pem` makes its private key.',
    )
  }
  return pem
}
