import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { startEndingPeer } from './support/scripted-peer.mjs'
import { startScriptedProxy } from './support/scripted-http.mjs'

for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
  for (const websocket of [false, true]) {
    const what = websocket ? ', WebSocket' : ''
    test(`${maxVersion}${what}: a reconnect resumes the TLS session`, async (t) => {
      const peer = await startEndingPeer({ maxVersion, websocket })
      t.after(() => peer.close())
      const { connection, link } = await peer.connect()
      assert.equal(link.tls.isSessionReused(), false)
      const resumed = once(connection, 'resume')
      link.destroy()
      const second = await peer.welcome()
      await resumed
      assert.equal(second.tls.isSessionReused(), true)
    })
  }
}

test('a reconnect through a proxy resumes the TLS session with the endpoint', async (t) => {
  const peer = await startEndingPeer()
  t.after(() => peer.close())
  const proxy = await startScriptedProxy()
  t.after(() => proxy.close())
  const { link } = await peer.connect({ proxy: proxy.urlFor() })
  link.destroy()
  const second = await peer.welcome()
  assert.equal(second.tls.isSessionReused(), true)
})

test('connections of other options do not resume the TLS session', async (t) => {
  const peer = await startEndingPeer()
  t.after(() => peer.close())
  await peer.connect()
  const { link } = await peer.connect({ tls: { ca: peer.ca, minVersion: 'TLSv1.3' } })
  assert.equal(link.tls.isSessionReused(), false)
})
