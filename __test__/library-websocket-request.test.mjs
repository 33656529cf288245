import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer({ websocket: true })
after(() => peer.close())

// With what base64 has beyond letters and digits, and a token with what a query has.
const signature = 'c2lnbmF0dXJl+/8='
const tokenValue = 'a.b_c-d'
const CREDENTIALS = {
  authorizerName: 'Fleet',
  username: 'me',
  password: 'secret',
  tokenKeyName: 'token',
  tokenValue,
  tokenSignature: signature,
}
const QUERY = {
  'x-amz-customauthorizer-name': 'Fleet',
  'x-amz-customauthorizer-signature': signature,
  token: tokenValue,
}

/** What a connection with these options sends to open the WebSocket, and in CONNECT. */
async function seen(t, websocket, options = CREDENTIALS) {
  const { connection, link } = await peer.connect({ ...options, websocket })
  t.after(() => connection.disconnect({ force: true }))
  const [path, query = ''] = link.request.url.split('?')
  const { username, password } = link.connect
  return {
    link,
    path,
    query,
    parameters: Object.fromEntries(new URLSearchParams(query)),
    headers: link.request.headers,
    username,
    password: password?.toString(),
  }
}

/** The headers of a request that only the handshake has. */
const HANDSHAKE = [
  'connection',
  'host',
  'sec-websocket-key',
  'sec-websocket-protocol',
  'sec-websocket-version',
  'upgrade',
]

test("credentialsIn 'connect': all of it is in the user name of CONNECT, nothing in the request", async (t) => {
  const { path, query, headers, username, password } = await seen(t, { credentialsIn: 'connect' })
  const [name, parameters] = username.split('?')
  assert.deepEqual(
    { path, query, headers: Object.keys(headers).toSorted(), name, password },
    { path: '/mqtt', query: '', headers: HANDSHAKE, name: 'me', password: 'secret' },
  )
  assert.deepEqual(Object.fromEntries(new URLSearchParams(parameters)), QUERY)
})

test("credentialsIn is 'connect' where it is left out", async (t) => {
  const { query, username } = await seen(t, undefined)
  assert.equal(query, '')
  assert.match(username, /^me\?.*token=/)
})

test("credentialsIn 'query': name, token and signature are in the query, the login in CONNECT", async (t) => {
  const { path, parameters, headers, username, password } = await seen(t, { credentialsIn: 'query' })
  assert.deepEqual(
    { path, parameters, headers: Object.keys(headers).toSorted(), username, password },
    { path: '/mqtt', parameters: QUERY, headers: HANDSHAKE, username: 'me', password: 'secret' },
  )
})

test("credentialsIn 'query': the signature is percent-encoded", async (t) => {
  const { query } = await seen(t, { credentialsIn: 'query' })
  assert.ok(query.includes(`x-amz-customauthorizer-signature=${encodeURIComponent(signature)}`), query)
})

test("credentialsIn 'query': a path with a query of its own keeps it", async (t) => {
  const { path, parameters } = await seen(t, { credentialsIn: 'query', path: '/other?key=value' })
  assert.deepEqual({ path, parameters }, { path: '/other', parameters: { key: 'value', ...QUERY } })
})

test("credentialsIn 'headers': name, token and signature are headers, the login is in CONNECT", async (t) => {
  const { path, query, headers, username, password } = await seen(t, { credentialsIn: 'headers' })
  const others = Object.fromEntries(Object.entries(headers).filter(([name]) => !HANDSHAKE.includes(name)))
  assert.deepEqual(
    { path, query, others, username, password },
    { path: '/mqtt', query: '', others: QUERY, username: 'me', password: 'secret' },
  )
})

for (const credentialsIn of ['connect', 'query', 'headers']) {
  test(`credentialsIn '${credentialsIn}' without credentials sends none`, async (t) => {
    const { query, headers, username, password } = await seen(t, { credentialsIn }, {})
    assert.deepEqual(
      { query, headers: Object.keys(headers).toSorted(), username, password },
      { query: '', headers: HANDSHAKE, username: undefined, password: undefined },
    )
  })
}

test('further headers come as they were given, their names too', async (t) => {
  const { link } = await seen(t, { headers: { 'X-Key': 'Va lue', 'x-other': '' } }, {})
  const raw = link.request.rawHeaders
  assert.equal(raw[raw.indexOf('X-Key') + 1], 'Va lue')
  assert.equal(raw[raw.indexOf('x-other') + 1], '')
})

test('the host header names endpoint and port', async (t) => {
  const { headers } = await seen(t, undefined, {})
  assert.equal(headers.host, `localhost:${peer.port}`)
})

test('a header named host replaces the default, and is the only one', async (t) => {
  const { link } = await seen(t, { headers: { Host: 'iot.example.com' } }, {})
  const hosts = link.request.rawHeaders.filter((_, index, raw) => raw[index - 1]?.toLowerCase() === 'host')
  assert.deepEqual(hosts, ['iot.example.com'])
})

test('the protocol mqtt and version 13 are asked for, and a key of 16 bytes', async (t) => {
  const { headers } = await seen(t, undefined, {})
  assert.equal(headers['sec-websocket-protocol'], 'mqtt')
  assert.equal(headers['sec-websocket-version'], '13')
  assert.equal(Buffer.from(headers['sec-websocket-key'], 'base64').length, 16)
})

test('each connection has a key of its own', async (t) => {
  const first = await seen(t, undefined, {})
  const second = await seen(t, undefined, {})
  assert.notEqual(first.headers['sec-websocket-key'], second.headers['sec-websocket-key'])
})

test('no ALPN is offered, and the name that TLS asks for is the endpoint', async (t) => {
  const { link } = await seen(t, undefined, {})
  // The server selects mqtt where it is offered, and refuses a client that offers others alone.
  assert.equal(link.tls.alpnProtocol, false)
  assert.equal(link.tls.servername, 'localhost')
})

test('negotiated.alpnProtocol is undefined', async (t) => {
  const { connection } = await peer.connect()
  t.after(() => connection.disconnect({ force: true }))
  assert.equal(connection.negotiated.alpnProtocol, undefined)
})
