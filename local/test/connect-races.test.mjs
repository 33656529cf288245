import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  connectPacket,
  connectRaw,
  grant,
  lastOfType,
  ofType,
  openRaw,
  start,
  untilEvent,
} from './support.mjs'

/** An endpoint whose handler answers a user name `slow` only when told to; `asked` resolves with how. */
async function startSlow(t) {
  let asked
  const waiting = new Promise((resolve) => (asked = resolve))
  const handler = ({ protocolData: { mqtt } }) =>
    mqtt.username === 'slow' ? new Promise((answer) => asked(() => answer(grant()))) : grant()
  const endpoint = await start(t, { authorizers: { Open: { handler, signingDisabled: true } } })
  return { endpoint, waiting }
}

const SLOW = { clientId: 'device', username: 'slow' }

for (const [what, more] of [
  ['', undefined],
  [' and had sent more already', { cmd: 'pingreq' }],
]) {
  test(`a client that left while its authorizer was thinking${what} takes nobody's client id`, async (t) => {
    const { endpoint, waiting } = await startSlow(t)
    const live = await connectRaw(t, endpoint, { clientId: 'device' })
    const leaving = await openRaw(t, endpoint)
    leaving.send(connectPacket(5, SLOW))
    if (more !== undefined) leaving.send(more)
    const answer = await waiting
    leaving.socket.end()
    await untilEvent(endpoint, 'connect-refused')
    answer()
    assert.equal((await live.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
    assert.equal(lastOfType(endpoint, 'connect-refused').rule, 'connection-lost')
    assert.equal(ofType(endpoint, 'disconnected').length, 0)
  })
}

test('what a client sends before its CONNACK is handled after it, in order', async (t) => {
  const { endpoint, waiting } = await startSlow(t)
  const client = await openRaw(t, endpoint)
  client.send(connectPacket(5, SLOW))
  client.send({ cmd: 'pingreq' })
  client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 1 }] })
  const answer = await waiting
  answer()
  const kinds = []
  for (let n = 0; n < 3; n++) kinds.push((await client.next()).cmd)
  assert.deepEqual(kinds, ['connack', 'pingresp', 'suback'])
})

for (const protocolVersion of [4, 5]) {
  test(`of two CONNECTs of one client id the later one wins, whichever is authorized first (version ${protocolVersion})`, async (t) => {
    const { endpoint, waiting } = await startSlow(t)
    const older = await openRaw(t, endpoint, { protocolVersion })
    older.send(connectPacket(protocolVersion, SLOW))
    const answer = await waiting
    const newer = await connectRaw(t, endpoint, { clientId: 'device', protocolVersion })
    answer()
    const connack = await older.next()
    assert.equal(connack?.reasonCode, protocolVersion === 5 ? 0x80 : undefined)
    assert.equal(lastOfType(endpoint, 'connect-refused').rule, 'client-id-taken-over')
    assert.equal((await newer.ask({ cmd: 'pingreq' })).cmd, 'pingresp')
  })
}
