import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, describe, test } from 'node:test'
import { startEndingPeer } from './support/scripted-peer.mjs'

const peer = await startEndingPeer()
after(() => peer.close())

// A renewal is never sooner than 60 seconds behind a connect.
const skip =
  process.env.SLOW_TESTS === '1'
    ? false
    : 'takes more than a minute: `SLOW_TESTS=1 node --test --test-timeout=120000`'
const slow = { skip, timeout: 110_000 }

/** Opens a peer of its own, since these tests run at a time. */
async function ownPeer(t) {
  const own = await startEndingPeer()
  t.after(() => own.close())
  return own
}

/** Fails where the app is told of a loss. */
function unnoticed(connection) {
  for (const event of ['interrupt', 'resume', 'closed']) {
    connection.on(event, () => assert.fail(`${event} for a renewal`))
  }
  return () => connection.removeAllListeners()
}

/** Answers pings until the client ends the connection, and gives its last packet. */
async function lastPacket(link) {
  for (;;) {
    const packet = await link.any()
    if (packet.cmd !== 'pingreq') return packet
    link.send({ cmd: 'pingresp' })
  }
}

describe('renewals, a minute behind each connect', { concurrency: true, timeout: 110_000 }, () => {
  test('expiresAt: credentials are asked, and the connection is renewed in good order', slow, async (t) => {
    const own = await ownPeer(t)
    const asked = []
    const { connection, link } = await own.connect({
      credentials: ({ number, lastError }) => {
        asked.push({ number, lastError })
        return { username: `user ${number}`, expiresAt: Date.now() + (number === 1 ? 10_000 : 3_600_000) }
      },
    })
    const done = unnoticed(connection)
    const subscribing = connection.subscribe('t', {}, () => {})
    await link.grant()
    await subscribing
    assert.equal((await lastPacket(link)).cmd, 'disconnect')
    const again = await own.welcome({ sessionPresent: true })
    assert.equal(again.connect.username, 'user 2')
    assert.equal(again.connect.clean, false)
    const publishing = connection.publish('a', '')
    assert.equal((await again.acknowledge()).topic, 'a')
    await publishing
    assert.deepEqual(asked, [
      { number: 1, lastError: undefined },
      { number: 2, lastError: undefined },
    ])
    assert.equal(connection.state, 'connected')
    done()
    await connection.disconnect()
  })
  test('renewAfterSeconds: renewed without credentials, and nothing is published twice', slow, async (t) => {
    const own = await ownPeer(t)
    const { connection, link } = await own.connect({ reconnect: { renewAfterSeconds: 75 } })
    const done = unnoticed(connection)
    assert.equal((await lastPacket(link)).cmd, 'disconnect')
    const publishing = connection.publish('a', '')
    const again = await own.welcome({ sessionPresent: true })
    assert.equal((await again.acknowledge()).topic, 'a')
    await publishing
    done()
    await connection.disconnect()
  })
  test('credentials that fail at a renewal leave the connection as it is', slow, async (t) => {
    const own = await ownPeer(t)
    let failed
    const failing = new Promise((resolve) => (failed = resolve))
    const { connection, link } = await own.connect({
      credentials: ({ number }) => {
        if (number === 1) return { username: 'u', expiresAt: Date.now() + 10_000 }
        failed()
        throw new Error('away')
      },
    })
    const done = unnoticed(connection)
    link.ping = lastPacket(link).catch(() => {})
    await failing
    const publishing = connection.publish('a', '')
    const { cmd, topic, messageId } = await link.ping
    assert.deepEqual([cmd, topic], ['publish', 'a'])
    link.send({ cmd: 'puback', messageId, reasonCode: 0 })
    await publishing
    assert.equal(connection.state, 'connected')
    done()
    await connection.disconnect()
  })
  test(
    'what stays unacknowledged delays a renewal for some seconds, and is sent again behind it',
    slow,
    async (t) => {
      const own = await ownPeer(t)
      const { connection, link } = await own.connect({
        ackTimeoutMs: 120_000,
        reconnect: { renewAfterSeconds: 75 },
      })
      const done = unnoticed(connection)
      const publishing = connection.publish('a', '')
      const { messageId } = await link.expect('publish')
      const { cmd } = await lastPacket(link)
      assert.equal(cmd, 'disconnect')
      const again = await own.welcome({ sessionPresent: true })
      const resent = await again.acknowledge()
      assert.deepEqual([resent.topic, resent.messageId, resent.dup], ['a', messageId, true])
      await publishing
      done()
      await connection.disconnect()
    },
  )
})

test('an end of credentials that has passed already is no reason to renew at once', async () => {
  const { connection, link } = await peer.connect({
    credentials: () => ({ username: 'u', expiresAt: Date.now() - 1_000 }),
  })
  const done = unnoticed(connection)
  const publishing = connection.publish('a', '')
  assert.equal((await link.acknowledge()).topic, 'a')
  await publishing
  done()
  await connection.disconnect()
})

test('a connection that is lost before its renewal asks for credentials like any other', async () => {
  const asked = []
  const { connection, link } = await peer.connect({
    reconnect: { minDelayMs: 1, maxDelayMs: 20, spreadMs: 0, renewAfterSeconds: 75 },
    credentials: ({ number }) => {
      asked.push(number)
      return { username: `user ${number}`, expiresAt: new Date(Date.now() + 100_000) }
    },
  })
  link.end()
  assert.equal((await peer.welcome()).connect.username, 'user 2')
  await once(connection, 'resume')
  assert.deepEqual(asked, [1, 2])
  await connection.disconnect()
})
