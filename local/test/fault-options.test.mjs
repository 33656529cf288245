import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startLocalEndpoint } from 'custom-authorizer-local'
import { connectRaw, start, unsigned } from './support.mjs'

const close = { close: true }

for (const [fault, message] of [
  [{ on: 'puback', do: close, dp: 1 }, /no member "dp"; the members are: on, direction/],
  [{ on: 'pubakc', do: close }, /on is "pubakc"; it is one of: any, connect, connack/],
  [{ on: 'suback', direction: 'in', do: close }, /suback has only the direction "out"/],
  [{ on: 'publish', direction: 'up', do: close }, /direction is "up"; it is "in"/],
  [{ on: 'pingreq', topic: 'a', do: close }, /pingreq has no topic; those that have one: publish/],
  [{ on: 'puback', clientId: 7, do: close }, /clientId is 7; it is a string or a RegExp/],
  [{ on: 'puback', times: 0, do: close }, /times is 0; it is a whole number from 1 on/],
  [{ on: 'puback', skip: -1, do: close }, /skip is -1; it is a whole number from 0 on/],
  [{ on: 'puback' }, /do is undefined; it is an object with delayMs, drop/],
  [{ on: 'puback', do: {} }, /do is empty; it is one of: delayMs, drop/],
  [{ on: 'puback', do: { lose: true } }, /no member "lose" in do; the members are: delayMs, drop/],
  [{ on: 'puback', do: { drop: false } }, /do\.drop is false; it is true/],
  [{ on: 'puback', do: { close: true, reset: true } }, /do has close and reset; it does one thing/],
  [
    { on: 'puback', do: { drop: true, delayMs: 5 } },
    /do has drop and delayMs; delayMs stands alone or beside/,
  ],
  [{ on: 'puback', do: { delayMs: '5' } }, /do\.delayMs is "5"; it is a whole number from 0/],
  [{ on: 'puback', do: { connack: 5 } }, /do\.connack is possible on connect and on connack/],
  [{ on: 'connect', do: { connack: 0 } }, /do\.connack is 0; it is a whole number from 1 to 255/],
  [{ on: 'puback', do: { disconnect: 256 } }, /do\.disconnect is 256; it is a whole number from 0 to 255/],
  [{ on: 'puback', do: { drop: true, reason: 'x' } }, /do\.reason goes with disconnect/],
  [{ on: 'suback', do: { hold: 'next' } }, /do\.hold is "next"; it is "until-next" or one of/],
  [
    { on: 'suback', do: { hold: 'pingreq' } },
    /do\.hold waits for pingreq, which never goes the way of suback/,
  ],
  [
    { on: 'any', do: { throttle: { bytesPerSecond: 0 } } },
    /bytesPerSecond is 0; it is a whole number from 1/,
  ],
  [{ on: 'puback', do: { duplicate: { newPacketId: true, dup: false } } }, /is possible on publish/],
]) {
  test(`refused: ${JSON.stringify(fault)}`, async (t) => {
    const endpoint = await start(t)
    assert.throws(() => endpoint.faults.add(fault), { name: 'TypeError', message })
  })
}

test('a fault among the options is refused with its place', async () => {
  const options = {
    authorizers: { Open: unsigned() },
    faults: [
      { on: 'any', do: close },
      { on: 'x', do: close },
    ],
  }
  await assert.rejects(startLocalEndpoint(options), { name: 'TypeError', message: /^faults\[1\]: on is "x"/ })
})

test('an action on a connection refuses a reason code that fits no byte', async (t) => {
  const endpoint = await start(t)
  await connectRaw(t, endpoint)
  assert.throws(() => endpoint.connections[0].disconnect(300), /reasonCode is 300; it is a whole number/)
})
