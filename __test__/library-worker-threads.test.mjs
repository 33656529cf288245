import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { runScript } from './support/script.mjs'
import { startPeer } from './support/scripted-peer.mjs'

const peer = await startPeer()
after(() => peer.close())

for (const workers of ['1', '4', 'many']) {
  test(`with CUSTOM_AUTHORIZER_WORKERS=${workers} connections work beside each other`, async () => {
    const { exited } = runScript(
      `const names = ['one', 'two', 'three']
       const connections = await Promise.all(names.map((clientId) => connectWithCustomAuthorizer({ ...input, clientId })))
       await Promise.all(connections.map((connection) => connection.publish('t', connection.clientId, { qos: 0 })))
       await Promise.all(connections.map((connection) => connection.disconnect()))
       console.log('done')`,
      peer.where,
      [],
      { CUSTOM_AUTHORIZER_WORKERS: workers },
    )
    const links = [await peer.welcome(), await peer.welcome(), await peer.welcome()]
    const published = await Promise.all(links.map((link) => link.expect('publish')))
    assert.deepEqual(published.map(({ payload }) => payload.toString()).toSorted(), ['one', 'three', 'two'])
    assert.deepEqual(await exited, { code: 0, signal: null, stdout: 'done\n', stderr: '' })
  })
}
