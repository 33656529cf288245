import { X509Certificate } from 'node:crypto'
import type { ClientCertificate } from '../authorizer/authorizer-event'
import type { Variables } from './glob'

/** IoT Core's names for the attributes of a distinguished name, by the short names that OpenSSL gives them. */
const ATTRIBUTES: Readonly<Record<string, string>> = {
  dnQualifier: 'DistinguishedNameQualifier',
  C: 'Country',
  O: 'Organization',
  OU: 'OrganizationalUnit',
  ST: 'State',
  CN: 'CommonName',
  serialNumber: 'SerialNumber',
  title: 'Title',
  SN: 'Surname',
  GN: 'GivenName',
  initials: 'Initials',
  pseudonym: 'Pseudonym',
  generationQualifier: 'GenerationQualifier',
}

/**
 * The policy variables that a client certificate (CUSTOM_AUTH_X509) gives values to: its id, its serial number and the
 * names of its subject and its issuer. Of an attribute that is there several times, the first is meant where no number
 * such as `.1` follows.
 */
export function certificateVariables({ id, pem }: ClientCertificate): Variables {
  const certificate = new X509Certificate(pem)
  const { subject, issuer } = certificate.toLegacyObject()
  return new Map([
    ['iot:certificateid', id],
    ['iot:certificate.serialnumber', certificate.serialNumber],
    ...nameVariables('iot:Certificate.Subject', subject),
    ...nameVariables('iot:Certificate.Issuer', issuer),
  ])
}

/** Whether a condition may ask for `key`, with a certificate or without. */
export const isCertificateKey = (key: string): boolean =>
  /^iot:(certificateid|certificate\.(serialnumber|(subject|issuer)\.[a-z]+(\.\d+)?))$/i.test(key)

function nameVariables(prefix: string, name: object): [string, string][] {
  return Object.entries(name as Record<string, string | string[]>).flatMap(([short, value]) => {
    const attribute = Object.hasOwn(ATTRIBUTES, short) ? ATTRIBUTES[short] : undefined
    if (attribute === undefined) return []
    const variable = `${prefix}.${attribute}`.toLowerCase()
    const values = [value].flat()
    const numbered = values.map((one, index): [string, string] => [`${variable}.${index}`, one])
    return numbered.concat([[variable, values[0]!]])
  })
}
