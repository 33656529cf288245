import { createHash, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto'
import { isIP } from 'node:net'
import * as der from './der'

export interface ServerCredentials {
  /** The certificate authority that a client has to trust, PEM. */
  ca: string
  /** The server's certificate and private key, PEM; the key exists in memory alone. */
  cert: string
  key: string
}

/**
 * Makes a certificate authority and, signed by it, a server certificate for `names` (host names, one
 * level of wildcard, or IP addresses). The authority's key is forgotten on return.
 */
export function createServerCredentials(names: string[]): ServerCredentials {
  const authority = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const server = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const authorityName = distinguishedName('custom-authorizer-local CA')

  const ca = certificate({
    subject: authorityName,
    publicKey: authority.publicKey,
    issuer: authorityName,
    issuerKey: authority.privateKey,
    extensions: [
      extension('2.5.29.19', der.sequence(der.TRUE, der.integer(Buffer.of(0))), true), // CA, path length 0
      extension('2.5.29.15', der.bitString(Buffer.of(0b0000_0110), 1), true), // keyCertSign, cRLSign
      extension('2.5.29.14', der.octetString(keyIdentifier(authority.publicKey))),
    ],
  })
  const cert = certificate({
    subject: distinguishedName(names[0]!),
    publicKey: server.publicKey,
    issuer: authorityName,
    issuerKey: authority.privateKey,
    extensions: [
      extension('2.5.29.19', der.sequence(), true), // not a CA
      extension('2.5.29.15', der.bitString(Buffer.of(0b1000_0000), 7), true), // digitalSignature
      extension('2.5.29.37', der.sequence(der.objectIdentifier('1.3.6.1.5.5.7.3.1'))), // serverAuth
      extension('2.5.29.17', der.sequence(...names.map(alternativeName))),
      extension('2.5.29.14', der.octetString(keyIdentifier(server.publicKey))),
      extension('2.5.29.35', der.sequence(der.context(0, false, keyIdentifier(authority.publicKey)))),
    ],
  })
  return { ca, cert, key: server.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string }
}

interface CertificateFields {
  subject: Buffer
  publicKey: KeyObject
  issuer: Buffer
  issuerKey: KeyObject
  extensions: Buffer[]
}

const ECDSA_WITH_SHA256 = der.sequence(der.objectIdentifier('1.2.840.10045.4.3.2'))
const DAY_MS = 86_400_000

function certificate({ subject, publicKey, issuer, issuerKey, extensions }: CertificateFields): string {
  const now = Date.now()
  const toBeSigned = der.sequence(
    der.context(0, true, der.integer(Buffer.of(2))), // version 3
    der.integer(randomBytes(16)),
    ECDSA_WITH_SHA256,
    issuer,
    der.sequence(der.time(new Date(now - DAY_MS)), der.time(new Date(now + 365 * DAY_MS))),
    subject,
    spki(publicKey),
    der.context(3, true, der.sequence(...extensions)),
  )
  const signature = der.bitString(sign('sha256', toBeSigned, issuerKey))
  const base64 = der.sequence(toBeSigned, ECDSA_WITH_SHA256, signature).toString('base64')
  return `-----BEGIN CERTIFICATE-----\n${base64.replace(/.{64}(?=.)/g, '$&\n')}\n-----END CERTIFICATE-----\n`
}

function extension(id: string, value: Buffer, critical = false): Buffer {
  const parts = [der.objectIdentifier(id), ...(critical ? [der.TRUE] : []), der.octetString(value)]
  return der.sequence(...parts)
}

function distinguishedName(commonName: string): Buffer {
  const attribute = der.sequence(der.objectIdentifier('2.5.4.3'), der.utf8String(commonName.slice(0, 64)))
  return der.sequence(der.set(attribute))
}

function alternativeName(name: string): Buffer {
  return isIP(name)
    ? der.context(7, false, addressBytes(name))
    : der.context(2, false, Buffer.from(name, 'ascii'))
}

function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number))
  // Only the URL parser in the standard library writes an IPv6 address out in a canonical form.
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const [head = '', tail] = canonical.split('::')
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'))
  const left = groups(head)
  const right = groups(tail ?? '')
  const zeros = Array<string>(8 - left.length - right.length).fill('0')
  return Buffer.from(
    [...left, ...(tail === undefined ? [] : zeros), ...right].map((g) => g.padStart(4, '0')).join(''),
    'hex',
  )
}

const spki = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' })

const keyIdentifier = (key: KeyObject): Buffer => createHash('sha1').update(spki(key)).digest()
