import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import certificates from '../dist/front-door/certificates.js'
import { start } from './support.mjs'

test('the server certificate is signed by the authority and names what was asked for', () => {
  const names = ['localhost', '*.iot.eu-west-1.amazonaws.com', '127.0.0.1', '::1', 'fd00::1:2']
  const { ca, cert } = certificates.createServerCredentials(names)
  const authority = new X509Certificate(ca)
  const server = new X509Certificate(cert)
  assert.equal(authority.ca, true)
  assert.equal(server.ca, false)
  assert.equal(server.verify(authority.publicKey), true)
  assert.equal(server.checkIssued(authority), true)
  assert.deepEqual(server.keyUsage, ['1.3.6.1.5.5.7.3.1']) // extended key usage: serverAuth
  assert.ok(server.checkHost('localhost'))
  assert.ok(server.checkHost('abc-ats.iot.eu-west-1.amazonaws.com'))
  assert.equal(server.checkHost('example.com'), undefined)
  for (const address of ['127.0.0.1', '::1', 'fd00::1:2']) assert.ok(server.checkIP(address), address)
  assert.ok(Date.parse(server.validFrom) < Date.now() && Date.now() < Date.parse(server.validTo))
})

test('caFile holds the authority alone, and close removes it', async (t) => {
  const endpoint = await start(t)
  assert.equal(readFileSync(endpoint.caFile, 'utf8'), endpoint.ca)
  assert.doesNotMatch(endpoint.ca, /PRIVATE/)
  await endpoint.close()
  assert.equal(existsSync(endpoint.caFile), false)
})
