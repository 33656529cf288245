import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { after, mock, test } from 'node:test'
import { startLocalEndpoint } from 'custom-authorizer-local'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { createServerCredentials } from '../local/dist/front-door/certificates.js'
import { passwordAuthorizer, signingAuthorizer } from './support/authorizers.mjs'
import { startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

/** How connecting fails, when the peer does this. */
async function refusal(options, act, at = peer) {
  const connecting = connectWithCustomAuthorizer({ ...at.where, ...options })
  connecting.catch(() => {})
  const link = await at.accept()
  await link.expect('connect')
  act(link)
  const error = await connecting.then(
    () => assert.fail('was accepted'),
    (reason) => reason,
  )
  await link.closed
  return error
}

function hinted(error, expected) {
  const { code, stage, hint, message } = error
  assert.deepEqual({ code, stage }, expected, message)
  assert.notEqual(hint, '')
  return error
}

const NOT_AUTHORIZED = { code: 'ERR_NOT_AUTHORIZED', stage: 'connack' }
const CONNECT_REFUSED = { code: 'ERR_CONNECT_REFUSED', stage: 'connack' }

for (const [mqttVersion, code, expected] of [
  [3, 1, CONNECT_REFUSED],
  [3, 2, CONNECT_REFUSED],
  [3, 3, CONNECT_REFUSED],
  [3, 4, NOT_AUTHORIZED],
  [3, 5, NOT_AUTHORIZED],
  [3, 7, NOT_AUTHORIZED],
  [3, 0x87, NOT_AUTHORIZED],
  [5, 0x80, CONNECT_REFUSED],
  [5, 0x85, CONNECT_REFUSED],
  [5, 0x86, NOT_AUTHORIZED],
  [5, 0x87, NOT_AUTHORIZED],
  [5, 0x8c, NOT_AUTHORIZED],
  [5, 0x97, CONNECT_REFUSED],
  [5, 0xfe, CONNECT_REFUSED],
]) {
  test(`MQTT ${mqttVersion}: CONNACK ${code} is ${expected.code}`, async () => {
    const error = await refusal({ mqttVersion }, (link) => {
      link.sendBytes(Buffer.from(mqttVersion === 5 ? [0x20, 3, 0, code, 0] : [0x20, 2, 0, code]))
    })
    hinted(error, expected)
    assert.equal(error.reasonCode, code)
    assert.match(error.message, new RegExp(`^localhost:${peer.port} `))
  })
}

test('the words of the server are kept', async () => {
  const error = await refusal({}, (link) =>
    link.send({ cmd: 'connack', reasonCode: 0x87, properties: { reasonString: 'token expired' } }),
  )
  assert.equal(error.reasonString, 'token expired')
})

test('a close after CONNECT: ERR_CLOSED_BEFORE_CONNACK', async () => {
  const error = await refusal({}, (link) => link.end())
  hinted(error, { code: 'ERR_CLOSED_BEFORE_CONNACK', stage: 'connack' })
  assert.match(error.hint, /isAuthenticated/)
})

test('a close after CONNECT without the close of TLS: ERR_CLOSED_BEFORE_CONNACK', async () => {
  const error = await refusal({}, (link) => link.destroy())
  hinted(error, { code: 'ERR_CLOSED_BEFORE_CONNACK', stage: 'connack' })
})

test('a close after CONNECT, where no ALPN was selected: ERR_ALPN', async () => {
  const other = await startPeer({ ALPNProtocols: undefined })
  const error = await refusal({}, (link) => link.end(), other)
  hinted(error, { code: 'ERR_ALPN', stage: 'connack' })
  await other.close()
})

test('a server that selects no ALPN and answers is no failure', async () => {
  const other = await startPeer({ ALPNProtocols: undefined })
  const { connection } = await other.connect()
  assert.equal(connection.negotiated.alpnProtocol, undefined)
  await connection.disconnect()
  await other.close()
})

test('a server without the protocol mqtt (alert 120): ERR_ALPN', async () => {
  const other = await startPeer({ ALPNProtocols: ['http/1.1'] })
  const error = await connectWithCustomAuthorizer(other.where).catch((reason) => reason)
  hinted(error, { code: 'ERR_ALPN', stage: 'tls' })
  await other.close()
})

test('a certificate of an authority that is not trusted: ERR_TLS_CERTIFICATE', async () => {
  const { ca } = createServerCredentials(['localhost'])
  const error = await connectWithCustomAuthorizer({ ...peer.where, tls: { ca } }).catch((reason) => reason)
  hinted(error, { code: 'ERR_TLS_CERTIFICATE', stage: 'tls' })
})

test("a certificate that the system's authorities did not sign: ERR_TLS_CERTIFICATE", async () => {
  const error = await connectWithCustomAuthorizer({ ...peer.where, tls: {} }).catch((reason) => reason)
  hinted(error, { code: 'ERR_TLS_CERTIFICATE', stage: 'tls' })
})

test('a certificate for another name: ERR_TLS_CERTIFICATE, with both names', async () => {
  const other = await startPeer({ names: ['iot.example.com'] })
  const error = await connectWithCustomAuthorizer(other.where).catch((reason) => reason)
  hinted(error, { code: 'ERR_TLS_CERTIFICATE', stage: 'tls' })
  assert.match(`${error.message} ${error.cause?.message}`, /localhost/)
  assert.match(`${error.message} ${error.cause?.message}`, /iot\.example\.com/)
  await other.close()
})

for (const [what, year, said] of [
  ['has expired', 2_000, /expired/i],
  ['is not valid yet', 2_049, /not.*yet|clock/i],
]) {
  test(`a certificate that ${what}: ERR_TLS_CERTIFICATE`, async () => {
    mock.timers.enable({ apis: ['Date'], now: Date.UTC(year, 0) })
    const credentials = createServerCredentials(['localhost'])
    mock.timers.reset()
    const other = await startPeer({ credentials })
    const error = await connectWithCustomAuthorizer(other.where).catch((reason) => reason)
    hinted(error, { code: 'ERR_TLS_CERTIFICATE', stage: 'tls' })
    assert.match(`${error.message} ${error.hint}`, said)
    await other.close()
  })
}

/** A TCP server that does this with each connection. */
async function startTcp(act) {
  const sockets = new Set()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    act(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    where: { endpoint: 'localhost', port: server.address().port },
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

test('a refused port: ERR_TCP', async () => {
  const { where, close } = await startTcp(() => {})
  await close()
  const error = await connectWithCustomAuthorizer(where).catch((reason) => reason)
  hinted(error, { code: 'ERR_TCP', stage: 'tcp' })
  assert.match(error.message, new RegExp(`localhost:${where.port}`))
})

test('a name that does not resolve: ERR_DNS', async () => {
  const error = await connectWithCustomAuthorizer({ endpoint: 'no-such-host.invalid' }).catch(
    (reason) => reason,
  )
  hinted(error, { code: 'ERR_DNS', stage: 'dns' })
  assert.match(error.message, /no-such-host\.invalid/)
})

test('a server that does not speak TLS: ERR_TLS', async () => {
  const { where, close } = await startTcp((socket) => socket.write('220 mail.example.com ESMTP\r\n'))
  const error = await connectWithCustomAuthorizer(where).catch((reason) => reason)
  hinted(error, { code: 'ERR_TLS', stage: 'tls' })
  await close()
})

test('a close inside of the TLS handshake: ERR_TLS', async () => {
  const { where, close } = await startTcp((socket) => socket.end())
  const error = await connectWithCustomAuthorizer(where).catch((reason) => reason)
  hinted(error, { code: 'ERR_TLS', stage: 'tls' })
  await close()
})

test('a server that never answers in TLS: ERR_CONNECT_TIMEOUT at that stage', async () => {
  const { where, close } = await startTcp((socket) => socket.resume())
  const error = await connectWithCustomAuthorizer({ ...where, connectTimeoutMs: 50 }).catch(
    (reason) => reason,
  )
  hinted(error, { code: 'ERR_CONNECT_TIMEOUT', stage: 'tls' })
  await close()
})

test('a server that never answers CONNECT: ERR_CONNECT_TIMEOUT at that stage', async () => {
  const error = await refusal({ connectTimeoutMs: 300 }, () => {})
  hinted(error, { code: 'ERR_CONNECT_TIMEOUT', stage: 'connack' })
})

test('a ping without an answer: ERR_KEEP_ALIVE', async () => {
  const { connection, link } = await peer.connect({
    limits: 'none',
    keepAliveSeconds: 1,
    pingTimeoutMs: 20,
    reconnect: false,
  })
  await link.expect('pingreq')
  const { error } = await connection.closed
  hinted(error, { code: 'ERR_KEEP_ALIVE', stage: 'session' })
  await link.closed
})

test('an answered ping keeps the connection, and its round trip is in stats()', async () => {
  const { connection, link } = await peer.connect({
    limits: 'none',
    keepAliveSeconds: 1,
    pingTimeoutMs: 5_000,
  })
  assert.equal(connection.stats().pingMs, undefined)
  await link.expect('pingreq')
  link.send({ cmd: 'pingresp' })
  const publishing = connection.publish('a', '')
  await link.acknowledge()
  await publishing
  assert.ok(connection.stats().pingMs > 0)
  await connection.disconnect()
})

const signing = signingAuthorizer('token')
const unavailable = {
  handler: async () => {
    throw new Error('out of order')
  },
  signingDisabled: true,
}
const authorizers = {
  Password: passwordAuthorizer('u', 'sesame'),
  Signing: signing,
  Unavailable: unavailable,
}
const CLOSED = 'ERR_CLOSED_BEFORE_CONNACK'

for (const [what, options] of [
  ['a wrong password', { authorizerName: 'Password', username: 'u', password: 'wrong' }],
  ['an authorizer that does not exist', { authorizerName: 'Nobody', username: 'u', password: 'sesame' }],
  ['no authorizer where there is no default', { username: 'u', password: 'sesame' }],
  [
    'a signature of something else',
    {
      authorizerName: 'Signing',
      tokenKeyName: 'token',
      tokenValue: 'another',
      tokenSignature: signing.signedToken().signature,
    },
  ],
  ['an authorizer that fails', { authorizerName: 'Unavailable', username: 'u', password: 'p' }],
]) {
  for (const [profile, mqttVersion, code] of [
    ['aws', 3, CLOSED],
    ['aws', 5, 'ERR_NOT_AUTHORIZED'],
    ['friendly', 3, 'ERR_NOT_AUTHORIZED'],
    ['friendly', 5, 'ERR_NOT_AUTHORIZED'],
  ]) {
    test(`MQTT ${mqttVersion}, ${profile}: ${what} is ${code}`, async () => {
      const local = await startLocalEndpoint({ authorizers, profile })
      const where = { endpoint: local.endpoint, port: local.port, tls: { ca: local.ca } }
      const error = await connectWithCustomAuthorizer({ ...where, ...options, mqttVersion }).catch(
        (reason) => reason,
      )
      hinted(error, { code, stage: 'connack' })
      await local.close()
    })
  }
}
