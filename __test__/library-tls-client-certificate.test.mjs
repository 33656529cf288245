import assert from 'node:assert/strict'
import { createPrivateKey } from 'node:crypto'
import { test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { createServerCredentials } from '../local/dist/front-door/certificates.js'
import { createClientCredentials } from './support/client-certificates.mjs'
import { startPeer } from './support/scripted-peer.mjs'
import { startScriptedProxy } from './support/scripted-http.mjs'

const rsa = createClientCredentials('rsa')
const ec = createClientCredentials('ec')
const ed25519 = createClientCredentials('ed25519')

/** A peer that takes clients of this authority alone. */
async function demanding(t, { ca }, options = {}) {
  const credentials = createServerCredentials(['localhost'])
  const peer = await startPeer({
    credentials,
    ca,
    requestCert: true,
    rejectUnauthorized: true,
    ...options,
  })
  t.after(() => peer.close())
  return { peer, tls: { ca: credentials.ca } }
}

const encrypted = { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'sesame' }
for (const [what, credentials, key] of [
  ['RSA as PKCS#8', rsa, rsa.key.export({ type: 'pkcs8', format: 'pem' })],
  ['RSA as PKCS#1', rsa, rsa.key.export({ type: 'pkcs1', format: 'pem' })],
  ['RSA as KeyObject', rsa, rsa.key],
  ['P-256 as PKCS#8', ec, ec.key.export({ type: 'pkcs8', format: 'pem' })],
  ['P-256 as SEC1', ec, ec.key.export({ type: 'sec1', format: 'pem' })],
  ['P-256 as SEC1 in bytes', ec, Buffer.from(ec.key.export({ type: 'sec1', format: 'pem' }))],
  ['P-256 as KeyObject', ec, ec.key],
  ['Ed25519 as PKCS#8', ed25519, ed25519.key.export({ type: 'pkcs8', format: 'pem' })],
  ['Ed25519 as KeyObject', ed25519, ed25519.key],
  [
    'P-256 out of an encrypted PEM as KeyObject',
    ec,
    createPrivateKey({ key: ec.key.export(encrypted), passphrase: 'sesame' }),
  ],
]) {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
    test(`${maxVersion}, a key ${what}: the server gets the certificate, and proof of its key`, async (t) => {
      const { peer, tls } = await demanding(t, credentials, { maxVersion })
      const { connection, link } = await peer.connect({ tls: { ...tls, cert: credentials.cert, key } })
      t.after(() => connection.disconnect({ force: true }))
      assert.equal(link.tls.authorized, true)
      assert.equal(link.tls.getPeerCertificate().subject.CN, 'thing-7')
    })
  }
}

test('a certificate in bytes is taken', async (t) => {
  const { peer, tls } = await demanding(t, ec)
  const { connection, link } = await peer.connect({
    tls: { ...tls, cert: Buffer.from(ec.cert), key: ec.key },
  })
  t.after(() => connection.disconnect({ force: true }))
  assert.equal(link.tls.authorized, true)
})

test('certificates after the first go along', async (t) => {
  // A server that knows the authority would name it by itself.
  const { peer, tls } = await demanding(t, {}, { rejectUnauthorized: false })
  const { connection, link } = await peer.connect({ tls: { ...tls, cert: ec.cert + ec.ca, key: ec.key } })
  t.after(() => connection.disconnect({ force: true }))
  assert.equal(link.tls.getPeerCertificate(true).issuerCertificate.subject.CN, 'client authority')
})

test('over WebSocket the server gets the certificate too', async (t) => {
  const { peer, tls } = await demanding(t, ec, { websocket: true })
  const { connection, link } = await peer.connect({ tls: { ...tls, cert: ec.cert, key: ec.key } })
  t.after(() => connection.disconnect({ force: true }))
  assert.equal(link.tls.authorized, true)
})

test('a server that asks for a certificate and does not demand one takes a client without', async (t) => {
  const { peer, tls } = await demanding(t, ec, { rejectUnauthorized: false })
  const { connection, link } = await peer.connect({ tls })
  t.after(() => connection.disconnect({ force: true }))
  assert.deepEqual(link.tls.getPeerCertificate(), {})
})

for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
  test(`${maxVersion}, no certificate where one is demanded: ERR_TLS`, async (t) => {
    const { peer, tls } = await demanding(t, ec, { maxVersion })
    await assert.rejects(connectWithCustomAuthorizer({ ...peer.where, tls }), {
      code: 'ERR_TLS',
      stage: 'tls',
    })
  })
}

test('TLSv1.3, no certificate where one is demanded: the hint says so', async (t) => {
  const { peer, tls } = await demanding(t, ec)
  await assert.rejects(connectWithCustomAuthorizer({ ...peer.where, tls }), { hint: /client certificate/ })
})

test('a certificate on a default endpoint: the warning is on the error', async (t) => {
  // The proxy refuses: nothing leaves this machine.
  const proxy = await startScriptedProxy({ answer: () => 'HTTP/1.1 403 Forbidden\r\n\r\n' })
  t.after(() => proxy.close())
  const error = await connectWithCustomAuthorizer({
    endpoint: 'abc-ats.iot.eu-west-1.amazonaws.com',
    proxy: proxy.urlFor(),
    tls: { cert: ec.cert, key: ec.key },
  }).catch((reason) => reason)
  assert.equal(proxy.requests[0].line, 'CONNECT abc-ats.iot.eu-west-1.amazonaws.com:443 HTTP/1.1')
  assert.equal(error.warnings.length, 1)
  assert.match(error.warnings[0], /tls\.cert.*CUSTOM_AUTH_X509/)
})

test('a certificate on a custom domain: no warning', async (t) => {
  const proxy = await startScriptedProxy({ answer: () => 'HTTP/1.1 403 Forbidden\r\n\r\n' })
  t.after(() => proxy.close())
  const error = await connectWithCustomAuthorizer({
    endpoint: 'iot.example',
    proxy: proxy.urlFor(),
    tls: { cert: ec.cert, key: ec.key },
  }).catch((reason) => reason)
  assert.equal(error.code, 'ERR_PROXY')
  assert.equal(error.warnings, undefined)
})
