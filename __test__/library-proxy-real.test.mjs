import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { connectWithCustomAuthorizer } from '../dist/client.js'
import { skip as noBroker, startMosquitto } from './support/mosquitto.mjs'
import { skip as noProxies, startDanted, startMicrosocks, startTinyproxy } from './support/proxies.mjs'

const skip = noBroker || noProxies
const login = { username: 'user', password: 'sesame' }

let broker
let webBroker
before(async () => {
  if (skip) return
  broker = await startMosquitto()
  webBroker = await startMosquitto({ websocket: true })
})
after(() => Promise.all([broker?.close(), webBroker?.close()]))

/** Publishes and receives through the proxy, which has to have said that it connected to the broker. */
async function roundTrip(t, proxy, at, said) {
  const connection = await connectWithCustomAuthorizer({ ...at.where, proxy: proxy.urlFor() })
  t.after(() => connection.disconnect({ force: true }))
  const subscription = await connection.subscribe('a')
  const payload = Buffer.from(Array.from({ length: 60_000 }, (_, index) => index % 251))
  await connection.publish('a', payload)
  const { value } = await subscription[Symbol.asyncIterator]().next()
  assert.ok(value.payload.equals(payload))
  await proxy.said(said(at.port))
}

const BY_NAME = (port) => `localhost:${port}`
for (const [what, start, websocket, said] of [
  ['tinyproxy', ({ port }) => startTinyproxy({ target: port }), false, BY_NAME],
  ['tinyproxy with a login', ({ port }) => startTinyproxy({ target: port, login }), false, BY_NAME],
  // It names addresses alone.
  ['danted', () => startDanted(), false, (port) => `127.0.0.1.${port}`],
  ['microsocks with a login', () => startMicrosocks({ login }), false, BY_NAME],
  ['tinyproxy, WebSocket', ({ port }) => startTinyproxy({ target: port }), true, BY_NAME],
  ['tinyproxy with a login, WebSocket', ({ port }) => startTinyproxy({ target: port, login }), true, BY_NAME],
  ['danted, WebSocket', () => startDanted(), true, (port) => `127.0.0.1.${port}`],
  ['microsocks with a login, WebSocket', () => startMicrosocks({ login }), true, BY_NAME],
]) {
  test(`through ${what}: a message goes to the broker and comes back`, { skip }, async (t) => {
    const at = websocket ? webBroker : broker
    const proxy = await start(at)
    t.after(() => proxy.close())
    await roundTrip(t, proxy, at, said)
  })
}

for (const [what, start, wrong] of [
  ['tinyproxy', () => startTinyproxy({ target: broker.port, login }), null],
  ['microsocks', () => startMicrosocks({ login }), { username: 'user', password: 'mellon' }],
  ['microsocks', () => startMicrosocks({ login }), null],
]) {
  test(`${what} with ${wrong ? 'a wrong password' : 'no login'}: ERR_PROXY_AUTH`, { skip }, async (t) => {
    const proxy = await start()
    t.after(() => proxy.close())
    const url = wrong ? proxy.urlFor(wrong) : proxy.urlFor().replace('user:sesame@', '')
    await assert.rejects(connectWithCustomAuthorizer({ ...broker.where, proxy: url }), {
      code: 'ERR_PROXY_AUTH',
      stage: 'proxy',
    })
  })
}

test('tinyproxy with a wrong password: ERR_PROXY_AUTH', { skip }, async (t) => {
  const proxy = await startTinyproxy({ target: broker.port, login })
  t.after(() => proxy.close())
  const url = proxy.urlFor({ username: 'user', password: 'mellon' })
  // It answers with 401, not with 407.
  await assert.rejects(connectWithCustomAuthorizer({ ...broker.where, proxy: url }), {
    code: 'ERR_PROXY_AUTH',
    stage: 'proxy',
  })
})

test('tinyproxy that does not allow the port: ERR_PROXY with its status', { skip }, async (t) => {
  const proxy = await startTinyproxy({ target: 443 })
  t.after(() => proxy.close())
  await assert.rejects(connectWithCustomAuthorizer({ ...broker.where, proxy: proxy.urlFor() }), {
    code: 'ERR_PROXY',
    stage: 'proxy',
    message: /HTTP 403/,
  })
})

for (const [what, start] of [
  ['tinyproxy', (port) => startTinyproxy({ target: port })],
  ['danted', () => startDanted()],
  ['microsocks', () => startMicrosocks({ login })],
]) {
  test(
    `through ${what} to a port where nobody listens: ERR_PROXY names the endpoint`,
    { skip },
    async (t) => {
      const gone = await startDanted()
      await gone.close()
      const proxy = await start(gone.port)
      t.after(() => proxy.close())
      const where = { endpoint: '127.0.0.1', port: gone.port, proxy: proxy.urlFor() }
      await assert.rejects(connectWithCustomAuthorizer(where), {
        code: 'ERR_PROXY',
        stage: 'proxy',
        message: new RegExp(`127\\.0\\.0\\.1:${gone.port}`),
      })
    },
  )
}
