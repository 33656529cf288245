import assert from 'node:assert/strict'
import { connect as connectTcp } from 'node:net'
import { once } from 'node:events'
import { connect as connectTls } from 'node:tls'
import { test } from 'node:test'
import { connectPacket, connectRaw, lastOfType, openRaw, start } from './support.mjs'

/** The event of a refusal that the client itself sees nothing of. */
async function refusal(endpoint) {
  for (;;) {
    const event = lastOfType(endpoint, 'connect-refused')
    if (event) return event
    await new Promise(setImmediate)
  }
}

for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
  test(`ALPN mqtt with a known server name is let in (${maxVersion})`, async (t) => {
    const endpoint = await start(t)
    const client = await openRaw(t, endpoint, { maxVersion })
    assert.equal(client.socket.getProtocol(), maxVersion)
    assert.equal(client.socket.alpnProtocol, 'mqtt')
    assert.equal((await client.ask(connectPacket(5))).reasonCode, 0)
  })
}

const SILENT = [
  ['no ALPN', { ALPNProtocols: undefined }, 'alpn-missing'],
  ['ALPN x-amzn-mqtt-ca', { ALPNProtocols: ['x-amzn-mqtt-ca'] }, 'alpn-needs-certificate'],
  ['no server name', { servername: '', checkServerIdentity: () => undefined }, 'server-name-missing'],
  [
    'a server name that is not ours',
    { servername: 'example.com', checkServerIdentity: () => undefined },
    'server-name-unknown',
  ],
]

for (const [what, tls, rule] of SILENT) {
  test(`${what}: profile aws closes without a word`, async (t) => {
    const endpoint = await start(t)
    const client = await openRaw(t, endpoint, tls)
    assert.equal(await client.ask(connectPacket(5)), undefined)
    await client.closed
    assert.equal((await refusal(endpoint)).rule, rule)
    assert.equal(endpoint.invocations.length, 0)
  })

  test(`${what}: profile friendly says why`, async (t) => {
    const endpoint = await start(t, { profile: 'friendly' })
    const client = await openRaw(t, endpoint, tls)
    const connack = await client.ask(connectPacket(5))
    assert.equal(connack.reasonCode, 0x87)
    const { message, stage } = await refusal(endpoint)
    assert.equal(connack.properties.reasonString, message)
    assert.equal(stage, 'front-door')
    assert.equal((await refusal(endpoint)).rule, rule)
    assert.equal(endpoint.invocations.length, 0)
  })
}

test('a client that offers unknown ALPN protocols alone gets alert 120', async (t) => {
  const endpoint = await start(t)
  const options = { host: '127.0.0.1', port: endpoint.port, ca: endpoint.ca, servername: 'localhost' }
  const socket = connectTls({ ...options, ALPNProtocols: ['h2', 'mqtt/2'] })
  t.after(() => socket.destroy())
  const [error] = await once(socket, 'error')
  assert.match(error.code, /NO_APPLICATION_PROTOCOL/)
  assert.equal((await refusal(endpoint)).rule, 'alpn-unknown')
})

test('mqtt is chosen whatever else is offered', async (t) => {
  const endpoint = await start(t)
  const client = await openRaw(t, endpoint, { ALPNProtocols: ['http/1.1', 'x-amzn-mqtt-ca', 'mqtt'] })
  assert.equal(client.socket.alpnProtocol, 'mqtt')
})

test('names of the region and of the caller are answered to', async (t) => {
  const endpoint = await start(t, { region: 'eu-west-1', hostNames: ['iot.example.test'] })
  for (const servername of ['abc-ats.iot.eu-west-1.amazonaws.com', 'iot.example.test']) {
    const client = await openRaw(t, endpoint, { servername })
    assert.equal((await client.ask(connectPacket(5))).reasonCode, 0, servername)
    assert.equal(endpoint.invocations.at(-1).event.protocolData.tls.serverName, servername)
  }
})

test('HTTP is refused, with an answer in profile friendly', async (t) => {
  const request = 'GET /mqtt HTTP/1.1\r\nHost: localhost\r\n\r\n'
  for (const ALPNProtocols of [undefined, ['http/1.1']]) {
    for (const profile of ['aws', 'friendly']) {
      const endpoint = await start(t, { profile })
      const client = await openRaw(t, endpoint, { ALPNProtocols })
      let text = ''
      client.socket.removeAllListeners('data')
      client.socket.on('data', (data) => (text += data))
      client.socket.write(request)
      await client.closed
      assert.equal(text.split('\r\n')[0], profile === 'aws' ? '' : 'HTTP/1.1 501 Not Implemented')
      assert.equal((await refusal(endpoint)).rule, 'http-not-served')
    }
  }
})

test('bytes that are neither TLS nor MQTT are refused, and the endpoint goes on', async (t) => {
  const endpoint = await start(t)
  const plain = connectTcp(endpoint.port, '127.0.0.1')
  plain.on('error', () => {})
  plain.write('GET / HTTP/1.1\r\n\r\n')
  await once(plain, 'close')
  assert.equal((await refusal(endpoint)).stage, 'tls')
  const odd = await openRaw(t, endpoint, { ALPNProtocols: undefined })
  odd.socket.write(Buffer.from([0xff, 0, 0, 0]))
  await odd.closed
  assert.equal(lastOfType(endpoint, 'connect-refused').rule, 'not-mqtt')
  await connectRaw(t, endpoint)
})

test('a client that does not trust the authority is told apart from others', async (t) => {
  const endpoint = await start(t)
  const socket = connectTls({
    host: '127.0.0.1',
    port: endpoint.port,
    servername: 'localhost',
    ALPNProtocols: ['mqtt'],
  })
  t.after(() => socket.destroy())
  await once(socket, 'error')
  // Node's client hangs up instead of sending an alert, so the rule differs from that of OpenSSL's.
  assert.ok(
    ['connection-lost', 'handshake-aborted', 'certificate-not-trusted'].includes(
      (await refusal(endpoint)).rule,
    ),
  )
})

test('without CONNECT in time the connection is closed', async (t) => {
  const endpoint = await start(t, { limits: { connectTimeoutMs: 50 } })
  const client = await openRaw(t, endpoint)
  await client.closed
  assert.equal(lastOfType(endpoint, 'connect-refused').rule, 'connect-timeout')
})
