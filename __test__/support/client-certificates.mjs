import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import * as der from '../../local/dist/front-door/der.js'

const ECDSA_WITH_SHA256 = der.sequence(der.objectIdentifier('1.2.840.10045.4.3.2'))
const DAY_MS = 86_400_000

/**
 * An authority, and a certificate of it for a client with a key of this type ('rsa', 'ec' or 'ed25519'). `key` is a
 * KeyObject.
 */
export function createClientCredentials(type = 'ec', commonName = 'thing-7') {
  const authority = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const client = generateKeyPairSync(type, { namedCurve: 'P-256', modulusLength: 2048 })
  const issuer = named('client authority')
  const ca = certificate(issuer, authority.publicKey, issuer, authority.privateKey, [
    extension('2.5.29.19', der.sequence(der.TRUE), true), // CA
    extension('2.5.29.15', der.bitString(Buffer.of(0b0000_0110), 1), true), // keyCertSign, cRLSign
    extension('2.5.29.14', der.octetString(identifier(authority.publicKey))),
  ])
  const cert = certificate(named(commonName), client.publicKey, issuer, authority.privateKey, [
    extension('2.5.29.19', der.sequence(), true), // not a CA
    extension('2.5.29.15', der.bitString(Buffer.of(0b1000_0000), 7), true), // digitalSignature
    extension('2.5.29.37', der.sequence(der.objectIdentifier('1.3.6.1.5.5.7.3.2'))), // clientAuth
    extension('2.5.29.35', der.sequence(der.context(0, false, identifier(authority.publicKey)))),
  ])
  return { ca, cert, key: client.privateKey }
}

function certificate(subject, publicKey, issuer, issuerKey, extensions) {
  const now = Date.now()
  const toBeSigned = der.sequence(
    der.context(0, true, der.integer(Buffer.of(2))), // version 3
    der.integer(randomBytes(16)),
    ECDSA_WITH_SHA256,
    issuer,
    der.sequence(der.time(new Date(now - DAY_MS)), der.time(new Date(now + DAY_MS))),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    der.context(3, true, der.sequence(...extensions)),
  )
  const signature = der.bitString(sign('sha256', toBeSigned, issuerKey))
  const base64 = der.sequence(toBeSigned, ECDSA_WITH_SHA256, signature).toString('base64')
  return `-----BEGIN CERTIFICATE-----\n${base64.replace(/.{64}(?=.)/g, '$&\n')}\n-----END CERTIFICATE-----\n`
}

function extension(id, value, critical = false) {
  return der.sequence(der.objectIdentifier(id), ...(critical ? [der.TRUE] : []), der.octetString(value))
}

function named(commonName) {
  return der.sequence(der.set(der.sequence(der.objectIdentifier('2.5.4.3'), der.utf8String(commonName))))
}

const identifier = (key) =>
  createHash('sha1')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest()
