import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startPeer } from './support/scripted-peer.mjs'
import { startScriptedProxy } from './support/scripted-http.mjs'
import { runScript } from './support/script.mjs'

const peer = await startPeer()
after(() => peer.close())

const CONNECT = `
  const connection = await connectWithCustomAuthorizer({ ...input, proxy: 'environment' })
  await connection.disconnect({ force: true })
`

// What the environment says, of the URL of the proxy, and whether the proxy is asked.
for (const [what, environment, asked] of [
  ['HTTPS_PROXY', (url) => ({ HTTPS_PROXY: url }), true],
  ['https_proxy', (url) => ({ https_proxy: url }), true],
  ['ALL_PROXY', (url) => ({ ALL_PROXY: url }), true],
  ['a proxy without its scheme', (url) => ({ HTTPS_PROXY: url.replace('http://', '') }), true],
  ['HTTP_PROXY alone', (url) => ({ HTTP_PROXY: url }), false],
  ['NO_PROXY of the endpoint', (url) => ({ HTTPS_PROXY: url, NO_PROXY: 'localhost' }), false],
  ['NO_PROXY of another endpoint', (url) => ({ HTTPS_PROXY: url, NO_PROXY: 'example.com' }), true],
  ['NO_PROXY *', (url) => ({ ALL_PROXY: url, NO_PROXY: '*' }), false],
  [
    'NO_PROXY of the endpoint on another port',
    (url) => ({ HTTPS_PROXY: url, NO_PROXY: 'localhost:1' }),
    true,
  ],
  ['nothing', () => ({}), false],
]) {
  test(`the environment with ${what}: the proxy is ${asked ? '' : 'not '}asked`, async (t) => {
    const proxy = await startScriptedProxy()
    t.after(() => proxy.close())
    const { exited, child } = runScript(CONNECT, peer.where, [], environment(proxy.urlFor()))
    t.after(() => child.kill('SIGKILL'))
    const link = await peer.welcome()
    const { code, stderr } = await exited
    assert.equal(code, 0, stderr)
    await link.closed
    assert.equal(proxy.requests.length, asked ? 1 : 0)
  })
}

test('the login of HTTPS_PROXY is sent', async (t) => {
  const proxy = await startScriptedProxy({ login: { username: 'user', password: 'sesame' } })
  t.after(() => proxy.close())
  const { exited, child } = runScript(CONNECT, peer.where, [], { HTTPS_PROXY: proxy.urlFor() })
  t.after(() => child.kill('SIGKILL'))
  await peer.welcome()
  const { code, stderr } = await exited
  assert.equal(code, 0, stderr)
})
