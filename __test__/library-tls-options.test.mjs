import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { createServerCredentials } from '../local/dist/front-door/certificates.js'
import { startPeer } from './support/scripted-peer.mjs'

async function start(t, options) {
  const peer = await startPeer(options)
  t.after(() => peer.close())
  return peer
}

/** The peer's end of a connection with these options of TLS. */
async function accepted(t, peer, tls = {}, options = {}) {
  const { connection, link } = await peer.connect({ ...options, tls: { ca: peer.ca, ...tls } })
  t.after(() => connection.disconnect({ force: true }))
  return { connection, link }
}

for (const [minVersion, limits, expected] of [
  ['TLSv1.2', { maxVersion: 'TLSv1.2' }, 'TLSv1.2'],
  ['TLSv1.2', {}, 'TLSv1.3'],
  ['TLSv1.3', {}, 'TLSv1.3'],
  ['TLSv1.3', { minVersion: 'TLSv1.3' }, 'TLSv1.3'],
  [undefined, { maxVersion: 'TLSv1.2' }, 'TLSv1.2'],
]) {
  test(`minVersion ${minVersion} with a server of ${JSON.stringify(limits)} speaks ${expected}`, async (t) => {
    const peer = await start(t, limits)
    const { link } = await accepted(t, peer, minVersion && { minVersion })
    assert.equal(link.tls.getProtocol(), expected)
  })
}

test('minVersion TLSv1.3 with a server of TLSv1.2: ERR_TLS, with a hint at the option', async (t) => {
  const peer = await start(t, { maxVersion: 'TLSv1.2' })
  await assert.rejects(
    connectWithCustomAuthorizer({ ...peer.where, tls: { ca: peer.ca, minVersion: 'TLSv1.3' } }),
    { code: 'ERR_TLS', stage: 'tls', hint: /minVersion/ },
  )
})

test('a server of TLSv1.1 alone: ERR_TLS', async (t) => {
  const peer = await start(t, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' })
  await assert.rejects(connectWithCustomAuthorizer(peer.where), { code: 'ERR_TLS', stage: 'tls' })
})

/** What the server is offered; it selects nothing. */
async function offered(t, tls, options = {}) {
  const offers = []
  const peer = await start(t, {
    ...options,
    ALPNProtocols: undefined,
    ALPNCallback: ({ protocols }) => (offers.push(protocols), undefined),
  })
  // Selecting nothing in the callback is alert 120: who is offered nothing does not call it.
  const connecting = connectWithCustomAuthorizer({ ...peer.where, tls: { ca: peer.ca, ...tls } })
  connecting.catch(() => {})
  const connected = peer.welcome().then(async () => (await connecting).disconnect({ force: true }))
  connected.catch(() => {})
  await Promise.race([connected, connecting.catch(() => {})])
  return offers
}

test('alpnProtocols left out: mqtt is offered', async (t) => {
  assert.deepEqual(await offered(t, {}), [['mqtt']])
})

test('alpnProtocols of several are offered in their order', async (t) => {
  const alpnProtocols = ['x-amzn-mqtt-ca', 'mqtt', 'http/1.1']
  assert.deepEqual(await offered(t, { alpnProtocols }), [alpnProtocols])
})

test('a protocol of 255 bytes is offered whole', async (t) => {
  const alpnProtocols = ['x'.repeat(255)]
  assert.deepEqual(await offered(t, { alpnProtocols }), [alpnProtocols])
})

test('alpnProtocols [] send no ALPN at all', async (t) => {
  // The server would refuse a client with ALPN that does not offer this.
  const peer = await start(t, { ALPNProtocols: ['other'] })
  const { connection, link } = await accepted(t, peer, { alpnProtocols: [] })
  assert.deepEqual([link.tls.alpnProtocol, connection.negotiated.alpnProtocol], [false, undefined])
})

test('negotiated.alpnProtocol is what the server selected of several', async (t) => {
  const peer = await start(t, { ALPNProtocols: ['second', 'first'] })
  const { connection } = await accepted(t, peer, { alpnProtocols: ['first', 'second'] })
  assert.equal(connection.negotiated.alpnProtocol, 'second')
})

test('over WebSocket alpnProtocols are offered where they are given', async (t) => {
  const peer = await start(t, { websocket: true, ALPNProtocols: ['http/1.1'] })
  const { link } = await accepted(t, peer, { alpnProtocols: ['http/1.1'] })
  assert.equal(link.tls.alpnProtocol, 'http/1.1')
})

test('serverName is asked for, and the certificate has to be for it', async (t) => {
  const peer = await start(t, { names: ['iot.example'] })
  const { link } = await accepted(t, peer, { serverName: 'iot.example' })
  assert.equal(link.tls.servername, 'iot.example')
})

test('serverName with an endpoint that is an address', async (t) => {
  const peer = await start(t, { names: ['iot.example'] })
  const { link } = await accepted(t, peer, { serverName: 'iot.example' }, { endpoint: '127.0.0.1' })
  assert.equal(link.tls.servername, 'iot.example')
})

test('serverName that the certificate is not for, although the endpoint is: ERR_TLS_CERTIFICATE', async (t) => {
  const peer = await start(t)
  const where = { ...peer.where, tls: { ca: peer.ca, serverName: 'iot.example' } }
  await assert.rejects(connectWithCustomAuthorizer(where), {
    code: 'ERR_TLS_CERTIFICATE',
    message: /iot\.example/,
  })
})

test('over WebSocket the host header names serverName', async (t) => {
  const peer = await start(t, { websocket: true, names: ['iot.example'] })
  const { link } = await accepted(t, peer, { serverName: 'iot.example' })
  assert.equal(link.request.headers.host, `iot.example:${peer.port}`)
})

test('an endpoint that is an address is asked for without SNI', async (t) => {
  const peer = await start(t, { names: ['127.0.0.1'] })
  const { link } = await accepted(t, peer, {}, { endpoint: '127.0.0.1' })
  assert.equal(link.tls.servername, false)
})

const other = createServerCredentials(['localhost']).ca
for (const [what, ca] of [
  ['one text', (peer) => other + peer.ca],
  ['a list', (peer) => [other, peer.ca]],
  ['bytes', (peer) => Buffer.from(other + peer.ca)],
  ['text with words around', (peer) => `Other\n${other}\r\n# ours\n${peer.ca.replaceAll('\n', '\r\n')}\nend`],
]) {
  test(`several authorities in ${what}: each is trusted`, async (t) => {
    const peer = await start(t)
    await accepted(t, peer, { ca: ca(peer) })
  })
}

test('several authorities in one file: each is trusted', async (t) => {
  const peer = await start(t)
  const directory = await mkdtemp(join(tmpdir(), 'custom-authorizer-ca-'))
  t.after(() => rm(directory, { recursive: true }))
  const caFile = join(directory, 'ca.pem')
  await writeFile(caFile, other + peer.ca)
  await accepted(t, peer, { ca: undefined, caFile })
})

test('ca and caFile both count', async (t) => {
  const peer = await start(t)
  const directory = await mkdtemp(join(tmpdir(), 'custom-authorizer-ca-'))
  t.after(() => rm(directory, { recursive: true }))
  const caFile = join(directory, 'ca.pem')
  await writeFile(caFile, peer.ca)
  await accepted(t, peer, { ca: other, caFile })
})
