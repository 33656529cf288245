import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import messages from '../dist/broker/message.js'
import sessions from '../dist/broker/session.js'
import limits from '../dist/limits.js'
import { connectRaw, lastOfType, publish, start, subscribe } from './support.mjs'

const LIMITS = { ...limits.IOT_CORE_LIMITS, redeliverAfterMs: 1000, redeliverForMs: 3500 }

/** Time that only moves when it is told to. */
class TestClock {
  #now = 0
  #timers = new Set()
  now = () => this.#now
  setTimeout = (callback, ms) => {
    const timer = { callback, due: this.#now + ms }
    this.#timers.add(timer)
    return { cancel: () => this.#timers.delete(timer) }
  }
  get pending() {
    return this.#timers.size
  }
  advance(ms) {
    const end = this.#now + ms
    for (;;) {
      const [next] = [...this.#timers].filter(({ due }) => due <= end).toSorted((a, b) => a.due - b.due)
      if (next === undefined) break
      this.#now = Math.max(this.#now, next.due)
      this.#timers.delete(next)
      next.callback()
    }
    this.#now = end
  }
}

/** A connection that notes what is sent on it. */
class Link {
  window = 100
  receiveMaximum = 65_535
  congested = false
  sent = []
  dropped = []
  transmit(delivery, packetId) {
    const { message, redelivery } = delivery
    this.sent.push({ topic: message.topic, packetId, redelivery: redelivery === true })
    return true
  }
  drop = ({ topic }, _qos, reason) => this.dropped.push([topic, reason])
  get topics() {
    return this.sent.map(({ topic }) => topic)
  }
}

const delivery = (topic, fields = {}) => ({
  message: {
    ...messages.createMessage({ topic, payload: Buffer.from('x'), qos: 1, retain: false, properties: {} }, 0),
    ...fields,
  },
  qos: 1,
  retain: false,
})

function attached(overrides = {}) {
  const clock = new TestClock()
  const settings = { clientId: 'device', protocolVersion: 5, expirySeconds: 600 }
  const made = new sessions.Session(settings, { ...LIMITS, ...overrides }, clock)
  const link = new Link()
  made.attach(link)
  return { clock, session: made, link }
}

test('a QoS 1 message without PUBACK is sent again and again, each time with a new packet id', () => {
  const { clock, session, link } = attached()
  session.deliver(delivery('a'))
  clock.advance(999)
  assert.equal(link.sent.length, 1)
  clock.advance(2001)
  assert.deepEqual(link.sent, [
    { topic: 'a', packetId: 1, redelivery: false },
    { topic: 'a', packetId: 2, redelivery: true },
    { topic: 'a', packetId: 3, redelivery: true },
    { topic: 'a', packetId: 4, redelivery: true },
  ])
})

test('a PUBACK for any packet id of a message ends its redelivery', () => {
  for (const packetId of [1, 2]) {
    const { clock, session, link } = attached()
    session.deliver(delivery('a'))
    clock.advance(1000)
    session.acknowledge(packetId)
    clock.advance(100_000)
    assert.equal(link.sent.length, 2, `packet id ${packetId}`)
    assert.equal(clock.pending, 0)
  }
})

test('a late PUBACK for an older packet id counts once: the one that follows acknowledges nothing else', () => {
  const { clock, session, link } = attached({ inFlight: 1 })
  link.window = 1
  session.deliver(delivery('a'))
  clock.advance(1000)
  session.deliver(delivery('b'))
  session.acknowledge(1)
  assert.deepEqual(link.topics, ['a', 'a', 'b'])
  session.deliver(delivery('c'))
  session.acknowledge(2) // of "a", sent twice
  assert.deepEqual(link.topics, ['a', 'a', 'b'])
  session.acknowledge(3)
  assert.deepEqual(link.topics, ['a', 'a', 'b', 'c'])
})

test('after its time a message is dropped, with an event', () => {
  const { clock, session, link } = attached()
  session.deliver(delivery('a'))
  clock.advance(4000)
  assert.deepEqual(link.dropped, [['a', 'not-acknowledged']])
  assert.equal(clock.pending, 0)
})

test('a dropped message makes room in the window for one that waits', () => {
  const { clock, session, link } = attached()
  link.window = 1
  session.deliver(delivery('a'))
  session.deliver(delivery('b'))
  clock.advance(4000)
  assert.equal(link.topics.at(-1), 'b')
})

test('a message that expires is not sent again', () => {
  const { clock, session, link } = attached()
  session.deliver(delivery('a', { expiresAt: 1500 }))
  clock.advance(10_000)
  assert.equal(link.sent.length, 2)
  assert.deepEqual(link.dropped, [['a', 'expired']])
})

test('redelivery respects Receive Maximum, which counts packet ids', () => {
  const { clock, session, link } = attached()
  link.receiveMaximum = 2
  session.deliver(delivery('a'))
  session.deliver(delivery('b'))
  clock.advance(1000)
  assert.equal(link.sent.length, 2)
  session.acknowledge(1)
  clock.advance(1000)
  assert.deepEqual(link.topics, ['a', 'b', 'b'])
})

test('only those that are due are sent again', () => {
  const { clock, session, link } = attached()
  session.deliver(delivery('a'))
  clock.advance(600)
  session.deliver(delivery('b'))
  clock.advance(400)
  assert.deepEqual(link.topics, ['a', 'b', 'a'])
  clock.advance(600)
  assert.deepEqual(link.topics, ['a', 'b', 'a', 'b'])
})

test('Infinity switches redelivery off', () => {
  const { clock, session, link } = attached({ redeliverAfterMs: Infinity })
  session.deliver(delivery('a'))
  clock.advance(10_000_000)
  assert.equal(link.sent.length, 1)
})

test('nothing is sent again, and no timer is left, once the connection is gone', () => {
  const { clock, session, link } = attached()
  session.deliver(delivery('a'))
  session.detach()
  assert.equal(clock.pending, 0)
  clock.advance(10_000)
  assert.equal(link.sent.length, 1)
})

test('after a reconnect the unacknowledged come first, in the order of their first sending', () => {
  const { clock, session } = attached({ replayPerSecond: Infinity })
  session.deliver(delivery('a'))
  clock.advance(500)
  session.deliver(delivery('b'))
  clock.advance(500) // "a" was sent a second time, after "b"
  session.detach()
  session.deliver(delivery('c'))
  const next = new Link()
  session.attach(next)
  assert.deepEqual(next.topics, ['a', 'b', 'c'])
})

test('a resumed session gets what is stored at 10 messages a second, and what is new at once', () => {
  const { clock, session } = attached()
  session.detach()
  for (let n = 0; n < 25; n++) session.deliver(delivery(`stored/${n}`))
  const link = new Link()
  session.attach(link)
  assert.deepEqual(link.topics, ['stored/0'])
  session.deliver(delivery('live'))
  assert.deepEqual(link.topics, ['stored/0', 'live'])
  clock.advance(999)
  assert.equal(link.topics.filter((topic) => topic.startsWith('stored/')).length, 10)
})

test('a connection that closes during the replay leaves no timer, and the message is stored again', () => {
  const { clock, session } = attached()
  session.detach()
  for (const topic of ['a', 'b']) session.deliver(delivery(topic))
  const closing = new Link()
  closing.transmit = () => {
    session.detach()
    return true
  }
  session.attach(closing)
  assert.equal(clock.pending, 0)
  const link = new Link()
  session.attach(link)
  clock.advance(100)
  assert.deepEqual(link.topics, ['a', 'b'])
})

test('stored messages that expired cost no time', () => {
  const { clock, session } = attached()
  session.detach()
  for (let n = 0; n < 5; n++) session.deliver(delivery(`old/${n}`, { expiresAt: 10 }))
  session.deliver(delivery('good'))
  clock.advance(20)
  const link = new Link()
  session.attach(link)
  assert.deepEqual(link.topics, ['good'])
  assert.equal(link.dropped.length, 5)
})

test('all sessions together hold no more than their limit, and give back what is acknowledged or discarded', () => {
  const clock = new TestClock()
  const holdings = { bytes: 0 }
  const settings = { clientId: 'device', protocolVersion: 5, expirySeconds: 600 }
  const make = () => new sessions.Session(settings, { ...LIMITS, queuedTotalBytes: 600 }, clock, holdings)
  const [first, second] = [make(), make()]
  const link = new Link()
  first.attach(link)
  first.deliver(delivery('a'))
  second.deliver(delivery('b'))
  first.deliver(delivery('c'))
  assert.deepEqual(link.dropped, [['c', 'queue-full']])
  first.acknowledge(1)
  first.deliver(delivery('d'))
  assert.deepEqual(link.topics, ['a', 'd'])
  first.discard()
  second.discard()
  assert.equal(holdings.bytes, 0)
})

test('a message that finds no room while nobody is connected is reported by the last connection', () => {
  const { session, link } = attached({ queuedBytes: 300 })
  session.detach()
  session.deliver(delivery('a'))
  session.deliver(delivery('b'))
  assert.deepEqual(link.dropped, [['b', 'queue-full']])
})

for (const protocolVersion of [4, 5]) {
  const name = protocolVersion === 4 ? '3.1.1' : 'MQTT 5'

  test(`${name}: on the wire a redelivery has a new packet id and no DUP`, async (t) => {
    const endpoint = await start(t, { limits: { redeliverAfterMs: 20 } })
    const client = await connectRaw(t, endpoint, { protocolVersion })
    await subscribe(client, 'a')
    const publisher = await connectRaw(t, endpoint, { clientId: 'publisher' })
    publisher.send(publish('a', 'x', { qos: 1, messageId: 1 }))
    const first = await client.next()
    const second = await client.next()
    assert.deepEqual([second.payload.toString(), second.dup], ['x', false])
    assert.notEqual(second.messageId, first.messageId)
    assert.equal(lastOfType(endpoint, 'receive').redelivery, true)
  })
}

test('a stored session keeps nothing of the connection that it was left by', async () => {
  const { session } = attached()
  const gone = (() => {
    const link = { window: 1, receiveMaximum: 1, congested: false, drop: () => {} }
    session.attach(link)
    session.detach()
    return new WeakRef(link)
  })()
  await new Promise(setImmediate)
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  assert.equal(gone.deref(), undefined)
})
