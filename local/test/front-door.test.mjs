import assert from 'node:assert/strict'
import { connect as connectTcp } from 'node:net'
import { once } from 'node:events'
import { connect as connectTls } from 'node:tls'
import { test } from 'node:test'
import { connectPacket, connectRaw, lastOfType, ofType, openRaw, start } from './support.mjs'

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

/** Sends text on a TLS connection and returns all that comes back until it is closed. */
async function exchange(t, endpoint, text, tls = {}) {
  const client = await openRaw(t, endpoint, { ALPNProtocols: undefined, ...tls })
  let answer = ''
  client.socket.removeAllListeners('data')
  client.socket.on('data', (data) => (answer += data))
  client.socket.write(text)
  await client.closed
  return answer
}

for (const [what, ALPNProtocols, bytes, rule] of [
  [
    'HTTP with ALPN mqtt',
    ['mqtt'],
    'GET /mqtt HTTP/1.1\r\nHost: localhost\r\n\r\n',
    'alpn-not-for-websocket',
  ],
  [
    'HTTP with ALPN x-amzn-mqtt-ca',
    ['x-amzn-mqtt-ca'],
    'GET /mqtt HTTP/1.1\r\n\r\n',
    'alpn-needs-certificate',
  ],
]) {
  test(`${what} is closed without a word, or answered in profile friendly`, async (t) => {
    const silent = await start(t)
    assert.equal(await exchange(t, silent, bytes, { ALPNProtocols }), '')
    assert.equal((await refusal(silent)).rule, rule)
    const friendly = await start(t, { profile: 'friendly' })
    const answer = await exchange(t, friendly, bytes, { ALPNProtocols })
    const { message } = await refusal(friendly)
    assert.match(answer, /^HTTP\/1.1 400 Bad Request\r\n/)
    assert.equal(JSON.parse(answer.split('\r\n\r\n')[1]).message, message)
  })
}

test('MQTT with ALPN http/1.1 is refused, with a CONNACK in profile friendly', async (t) => {
  const silent = await start(t)
  const client = await openRaw(t, silent, { ALPNProtocols: ['http/1.1'] })
  assert.equal(await client.ask(connectPacket(5)), undefined)
  assert.equal((await refusal(silent)).rule, 'alpn-not-for-mqtt')
  const friendly = await start(t, { profile: 'friendly' })
  const told = await openRaw(t, friendly, { ALPNProtocols: ['http/1.1'] })
  const connack = await told.ask(connectPacket(5))
  assert.equal(connack.properties.reasonString, (await refusal(friendly)).message)
})

const request = (line, ...headers) => [line, 'Host: localhost', ...headers, '', ''].join('\r\n')
const upgrade = (line, ...headers) =>
  request(
    line,
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    ...headers,
  )
const PROTOCOL = 'Sec-WebSocket-Protocol: mqtt'

for (const [what, text, status, rule] of [
  ['another path', request('GET /other HTTP/1.1'), 404, 'http-path-unknown'],
  ['an upgrade at another path', upgrade('GET / HTTP/1.1', PROTOCOL), 404, 'http-path-unknown'],
  ['another method', request('DELETE /mqtt HTTP/1.1'), 405, 'http-method'],
  ['no upgrade', request('GET /mqtt HTTP/1.1'), 426, 'http-upgrade-missing'],
  [
    'an upgrade to h2c',
    request('GET /mqtt HTTP/1.1', 'Connection: Upgrade', 'Upgrade: h2c'),
    426,
    'http-upgrade-missing',
  ],
  ['no subprotocol', upgrade('GET /mqtt HTTP/1.1'), 400, 'websocket-protocol'],
  [
    'a wrong subprotocol',
    upgrade('GET /mqtt HTTP/1.1', 'Sec-WebSocket-Protocol: amqp'),
    400,
    'websocket-protocol',
  ],
  [
    'a WebSocket version of its own',
    upgrade('GET /mqtt HTTP/1.1', PROTOCOL).replace('13', '12'),
    400,
    'websocket-handshake',
  ],
  [
    'SigV4 in the query',
    upgrade('GET /mqtt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=1 HTTP/1.1', PROTOCOL),
    403,
    'http-sigv4',
  ],
  [
    'a publish',
    request('POST /topics/a?qos=1 HTTP/1.1', 'Content-Length: 1') + 'x',
    501,
    'http-publish-not-served',
  ],
  ['CONNECT for a proxy', request('CONNECT example.com:443 HTTP/1.1'), 404, 'http-path-unknown'],
  ['what is no HTTP', 'HELLO\r\n\r\n', 400, 'http-malformed'],
  ['an endless header', `GET /mqtt HTTP/1.1\r\nX: ${'x'.repeat(40_000)}`, 431, 'http-header-too-large'],
]) {
  test(`HTTP: ${what} gets ${status}, with the reason in profile friendly`, async (t) => {
    const endpoint = await start(t, { profile: 'friendly' })
    for (const ALPNProtocols of [undefined, ['http/1.1']]) {
      const answer = await exchange(t, endpoint, text, { ALPNProtocols })
      const event = lastOfType(endpoint, 'connect-refused')
      assert.equal(answer.slice(0, 13), `HTTP/1.1 ${status} `)
      assert.equal(event.rule, rule)
      assert.equal(JSON.parse(answer.split('\r\n\r\n')[1]).message, event.message)
    }
  })
}

test('HTTP: profile aws gives no reasons, save for what this endpoint lacks', async (t) => {
  const endpoint = await start(t)
  const missing = await exchange(t, endpoint, request('GET /other HTTP/1.1'))
  assert.equal(missing.split('\r\n\r\n')[1], '{"message":"Not Found"}\n')
  const publishing = await exchange(t, endpoint, request('POST /topics/a HTTP/1.1'))
  assert.match(publishing, /501 Not Implemented[^]*publish over MQTT or WebSocket/)
})

test('HTTP: of requests sent at once the first one is answered, and one refusal recorded', async (t) => {
  const endpoint = await start(t)
  const answer = await exchange(t, endpoint, request('GET /other HTTP/1.1').repeat(50))
  assert.equal(answer.match(/HTTP\/1.1/g).length, 1)
  assert.equal(ofType(endpoint, 'connect-refused').length, 1)
})

for (const [what, tls, host, status, rule] of [
  ['a known Host stands in for a missing server name', { servername: '' }, 'localhost:8443', 101],
  ['an unknown Host does not', { servername: '' }, 'example.com', 403, 'server-name-unknown'],
  ['no Host does not', { servername: '' }, undefined, 403, 'server-name-missing'],
  [
    'a known Host does not mend a wrong server name',
    { servername: 'example.com' },
    'localhost',
    403,
    'server-name-unknown',
  ],
]) {
  test(`WebSocket: ${what}`, async (t) => {
    const endpoint = await start(t, { limits: { connectTimeoutMs: 300 } })
    const text = upgrade('GET /mqtt HTTP/1.1', PROTOCOL).replace(
      'Host: localhost\r\n',
      host ? `Host: ${host}\r\n` : '',
    )
    const answer = await exchange(t, endpoint, text, { ...tls, checkServerIdentity: () => undefined })
    assert.equal(answer.slice(0, 13), `HTTP/1.1 ${status} `)
    assert.equal(lastOfType(endpoint, 'connect-refused').rule, rule ?? 'connect-timeout')
  })
}

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

for (const [what, ALPNProtocols, bytes] of [
  ['nothing', undefined, ''],
  ['nothing after ALPN http/1.1', ['http/1.1'], ''],
  ['half a request', undefined, 'GET /mqtt HTTP/1.1\r\nHost: '],
  ['an upgrade and no CONNECT', undefined, upgrade('GET /mqtt HTTP/1.1', PROTOCOL)],
  ['half a CONNECT', ['mqtt'], Buffer.from([0x10, 20, 0, 4])],
]) {
  test(`${what} is closed when the time for CONNECT is over`, async (t) => {
    const endpoint = await start(t, { limits: { connectTimeoutMs: 200 } })
    await exchange(t, endpoint, bytes, { ALPNProtocols })
    assert.equal(lastOfType(endpoint, 'connect-refused').rule, 'connect-timeout')
    await connectRaw(t, endpoint)
  })
}
