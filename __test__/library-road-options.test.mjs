import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { after, test } from 'node:test'
import { inspect } from 'node:util'
import { connectWithCustomAuthorizer, MqttError } from '../dist/client.js'
import { createServerCredentials } from '../local/dist/front-door/certificates.js'

const accepted = []
const listener = createServer((socket) => {
  accepted.push(socket.remotePort)
  socket.destroy()
}).listen(0, '127.0.0.1')
await once(listener, 'listening')
after(() => listener.close())
const { port } = listener.address()

const { cert, key } = createServerCredentials(['localhost'])
const other = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const pem = { type: 'pkcs8', format: 'pem' }
const otherKey = other.privateKey.export(pem)
const encrypted = other.privateKey.export({ ...pem, cipher: 'aes-256-cbc', passphrase: 'sesame' })
const curve = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey

/** What must not show: the values that the table gives as secrets, and a line of each key. */
const SECRETS = ['sesame', ...[key, otherKey, encrypted].map((text) => text.split('\n')[1])]

const websocket = (options) => ({ transport: 'websocket', websocket: options })
const headers = (given) => websocket({ headers: given })

// What is wrong, the options beside a good endpoint and port, and what the message names.
for (const [what, options, named] of [
  ["transport 'wss'", { transport: 'wss' }, 'transport'],
  ['transport true', { transport: true }, 'transport'],
  ['websocket without its transport', { websocket: {} }, /websocket.*transport/],
  ["websocket beside transport 'tls'", { transport: 'tls', websocket: {} }, /websocket.*transport/],
  ['websocket true', websocket(true), 'websocket'],
  ['an unknown option of websocket', websocket({ url: 'wss://localhost' }), 'websocket."url"'],
  ["websocket.path without '/'", websocket({ path: 'mqtt?sesame' }), 'websocket.path'],
  ['an empty websocket.path', websocket({ path: '' }), 'websocket.path'],
  ['websocket.path with a space', websocket({ path: '/mqtt sesame' }), 'websocket.path'],
  ['websocket.path with a line break', websocket({ path: '/mqtt\r\nx: sesame' }), 'websocket.path'],
  ["websocket.path with a '#'", websocket({ path: '/mqtt#sesame' }), 'websocket.path'],
  ['websocket.path that is a URL', websocket({ path: new URL('wss://localhost/mqtt') }), 'websocket.path'],
  ["websocket.credentialsIn 'body'", websocket({ credentialsIn: 'body' }), 'websocket.credentialsIn'],
  ['websocket.headers that are an array', headers([['x-key', 'sesame']]), 'websocket.headers'],
  ['websocket.headers that are a Headers', headers(new Headers({ 'x-key': 'sesame' })), 'websocket.headers'],
  ['a header with a number as value', headers({ 'x-key': 42 }), /websocket\.headers.*"x-key".*number/],
  ['a header without a value', headers({ 'x-key': undefined }), /websocket\.headers.*"x-key"/],
  ['a header with several values', headers({ 'x-key': ['sesame', 'b'] }), /websocket\.headers.*"x-key"/],
  ['CR and LF in the name of a header', headers({ 'x-key: a\r\ny': 'sesame' }), /header/],
  ['an empty name of a header', headers({ '': 'sesame' }), /header/],
  ['CR and LF in the value of a header', headers({ 'x-key': 'a\r\ny: sesame' }), /header.*x-key/],
  ['LF in the value of a header', headers({ 'x-key': 'sesame\n' }), /header.*x-key/],
  ['NUL in the value of a header', headers({ 'x-key': 'sesame\0' }), /header.*x-key/],
  ['a value of a header beyond ASCII', headers({ 'x-key': 'sésame sesame' }), /header.*x-key/],
  ['the header upgrade', headers({ upgrade: 'sesame' }), /websocket\.headers.*upgrade/],
  ['the header Connection', headers({ Connection: 'sesame' }), /websocket\.headers.*Connection/],
  ['the header Sec-WebSocket-Key', headers({ 'Sec-WebSocket-Key': 'sesame' }), /websocket\.headers.*Key/],
  ['the header content-length', headers({ 'content-length': '6' }), /websocket\.headers.*content-length/],
  [
    'the header transfer-encoding',
    headers({ 'transfer-encoding': 'chunked' }),
    /websocket\.headers.*encoding/,
  ],
  ['a header twice', headers({ 'x-key': 'sesame', 'X-Key': 'sesame' }), /websocket\.headers.*X-Key.*twice/],
  [
    'a header that contradicts a credential',
    {
      transport: 'websocket',
      websocket: { credentialsIn: 'headers', headers: { 'x-amz-customauthorizer-name': 'sesame' } },
      authorizerName: 'Fleet',
    },
    /authorizerName.*x-amz-customauthorizer-name/,
  ],
  [
    'a token that no header can hold',
    {
      ...websocket({ credentialsIn: 'headers' }),
      tokenKeyName: 'token',
      tokenValue: 'sesame\r\nx: y',
      tokenSignature: 'c2ln',
    },
    'tokenValue',
  ],

  ['tls.cert without tls.key', { tls: { cert } }, /tls\.cert.*tls\.key/],
  ['tls.key without tls.cert', { tls: { key } }, /tls\.key.*tls\.cert/],
  ['tls.key of another certificate', { tls: { cert, key: otherKey } }, 'tls.key'],
  ['tls.key of another certificate, a KeyObject', { tls: { cert, key: other.privateKey } }, 'tls.key'],
  ['tls.key that is encrypted', { tls: { cert, key: encrypted } }, /tls\.key.*encrypted/],
  ['tls.key that is no key', { tls: { cert, key: 'sesame' } }, 'tls.key'],
  ['tls.key that is a certificate', { tls: { cert, key: cert } }, 'tls.key'],
  ['tls.key of a curve that is not supported', { tls: { cert, key: curve } }, 'tls.key'],
  ['tls.key that is public', { tls: { cert, key: other.publicKey } }, 'tls.key'],
  ['tls.key in bytes that are no key', { tls: { cert, key: Buffer.from('0sesame') } }, 'tls.key'],
  ['an empty tls.key', { tls: { cert, key: '' } }, 'tls.key'],
  ['tls.cert that is no certificate', { tls: { cert: 'sesame', key } }, 'tls.cert'],
  ['tls.cert that is a key', { tls: { cert: key, key } }, 'tls.cert'],
  ['tls.cert that is an array', { tls: { cert: [cert], key } }, 'tls.cert'],
  ["tls.minVersion 'TLSv1.1'", { tls: { minVersion: 'TLSv1.1' } }, 'tls.minVersion'],
  ['tls.minVersion 1.2', { tls: { minVersion: 1.2 } }, 'tls.minVersion'],
  ['tls.alpnProtocols that are a string', { tls: { alpnProtocols: 'mqtt' } }, 'tls.alpnProtocols'],
  ['tls.alpnProtocols with an empty one', { tls: { alpnProtocols: [''] } }, 'tls.alpnProtocols'],
  ['tls.alpnProtocols with a number', { tls: { alpnProtocols: [42] } }, 'tls.alpnProtocols'],
  ['one of 256 bytes', { tls: { alpnProtocols: ['x'.repeat(256)] } }, 'tls.alpnProtocols'],
  ['tls.serverName with a port', { tls: { serverName: 'localhost:443' } }, /tls\.serverName.*port/],
  ['an empty tls.serverName', { tls: { serverName: '' } }, 'tls.serverName'],
  ['tls.serverName that is a URL', { tls: { serverName: 'https://localhost' } }, 'tls.serverName'],
  ['tls.keyLog that is a path', { tls: { keyLog: 'keys.log' } }, 'tls.keyLog'],

  ['a proxy of FTP', { proxy: 'ftp://user:sesame@localhost' }, 'proxy'],
  ['a proxy of SOCKS 4', { proxy: 'socks4://user:sesame@localhost' }, 'proxy'],
  ['a proxy without a host', { proxy: 'http://' }, 'proxy'],
  ['an empty proxy', { proxy: '' }, 'proxy'],
  ['a proxy that is not percent-encoded', { proxy: 'http://user:sesame%ZZ@localhost' }, 'proxy'],
  ['a proxy with a path', { proxy: 'http://user:sesame@localhost/pac' }, 'proxy'],
  ['a proxy on port 0', { proxy: 'http://user:sesame@localhost:0' }, 'proxy'],
  ['a proxy that is no host name', { proxy: 'http://user:sesame@a..b' }, 'proxy'],
  ["a proxy with a ':' in its user name", { proxy: 'http://us%3Aer:sesame@localhost' }, 'proxy'],
  ['a SOCKS proxy with a user name alone', { proxy: 'socks5://sesame@localhost' }, 'proxy'],
  ['a SOCKS proxy with a long password', { proxy: `socks5://u:${'sesame'.repeat(43)}@localhost` }, 'proxy'],
  ['a proxy that is a number', { proxy: 42 }, 'proxy'],
  ['a proxy that is false', { proxy: false }, 'proxy'],
  ['a proxy that is null', { proxy: null }, 'proxy'],
  ['a proxy in parts', { proxy: { host: 'localhost', password: 'sesame' } }, 'proxy'],
]) {
  test(`${what}: ERR_INVALID_OPTION, and no secret in it`, async () => {
    await assert.rejects(
      connectWithCustomAuthorizer({ endpoint: 'localhost', port, ...options }),
      (error) => {
        assert.ok(error instanceof MqttError)
        assert.equal(error.code, 'ERR_INVALID_OPTION', error.message)
        assert.equal(error.stage, 'options')
        assert.equal(error.retryable, false)
        if (named instanceof RegExp) assert.match(error.message, named)
        else assert.ok(error.message.includes(named), error.message)
        const shown = inspect(error, { depth: Infinity, showHidden: true })
        for (const secret of SECRETS) assert.ok(!shown.includes(secret), shown)
        return true
      },
    )
  })
}

test('none of these has opened a connection', async () => {
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'close')
  assert.deepEqual(accepted, [accepted.at(-1)])
})
