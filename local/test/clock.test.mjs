import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { createManualClock } from 'custom-authorizer-local'
import { connectMqtt, lastOfType, ofType, openRaw, start } from './support.mjs'

test('a manual clock stands still until it is moved', async () => {
  const clock = createManualClock(1000)
  assert.equal(clock.now(), 1000)
  await clock.advance(250)
  assert.equal(clock.now(), 1250)
})

test('timers fire in the order in which they fall due, each at its own time', async () => {
  const clock = createManualClock(0)
  const fired = []
  for (const ms of [30, 10, 20, 10]) clock.setTimeout(() => fired.push([ms, clock.now()]), ms)
  await clock.advance(30)
  assert.deepEqual(fired, [
    [10, 10],
    [10, 10],
    [20, 20],
    [30, 30],
  ])
})

test('a timer that is not due yet waits', async () => {
  const clock = createManualClock(0)
  let fired = false
  clock.setTimeout(() => (fired = true), 100)
  await clock.advance(99)
  assert.equal(fired, false)
})

test('a timer that was cancelled does not fire', async () => {
  const clock = createManualClock(0)
  let fired = false
  clock.setTimeout(() => (fired = true), 10).cancel()
  await clock.advance(10)
  assert.equal(fired, false)
})

test('promises settle between two timers, and what they set fires within the same advance', async () => {
  const clock = createManualClock(0)
  const log = []
  clock.setTimeout(async () => {
    await Promise.resolve()
    clock.setTimeout(() => log.push(`second at ${clock.now()}`), 5)
  }, 10)
  clock.setTimeout(() => log.push(`third at ${clock.now()}`), 20)
  await clock.advance(20)
  assert.deepEqual(log, ['second at 15', 'third at 20'])
})

test('a clock does not go back', async () => {
  await assert.rejects(createManualClock(0).advance(-1), TypeError)
})

test('a client that says nothing after the TLS handshake is turned away by the clock of the endpoint', async (t) => {
  const clock = createManualClock()
  const endpoint = await start(t, { clock, limits: { connectTimeoutMs: 20_000 } })
  // With TLS 1.2 the server has seen the end of the handshake before the client.
  const client = await openRaw(t, endpoint, { maxVersion: 'TLSv1.2' })
  await clock.advance(20_000)
  await client.closed
  assert.equal(lastOfType(endpoint, 'connect-refused').rule, 'connect-timeout')
})

test('the recipe in the manual does what it says', async () => {
  const manual = await readFile(new URL('../README.md', import.meta.url), 'utf8')
  const [recipe] = manual.match(/(?<=^```js\n)(?:(?!^```)[^])*createManualClock\(\)(?:(?!^```)[^])*/m)
  const source = recipe.replace('./examples/', new URL('../../examples/', import.meta.url).href)
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '--eval', source],
    { cwd: fileURLToPath(new URL('..', import.meta.url)) }, // where its imports are looked for
  )
  assert.deepEqual(stdout.trim().split('\n'), ['1', 'CUSTOMAUTH_TTL_EXPIRATION'])
})

const UNTIMED = {
  keepAliveFactor: Infinity,
  connectsPerSecond: Infinity,
  publishesPerSecond: Infinity,
  bytesPerSecond: Infinity,
  replayPerSecond: Infinity,
}

test('with the limits of the recipe MQTT.js stays, publishes and comes back as under any clock', async (t) => {
  const clock = createManualClock()
  const endpoint = await start(t, { clock, limits: UNTIMED })
  const client = await connectMqtt(t, endpoint, { clientId: 'device' })
  await clock.advance(300_000)
  assert.equal(ofType(endpoint, 'refreshed').length, 1)
  for (let n = 0; n < 150; n++) await client.publishAsync('a', 'x', { qos: 1 })
  assert.equal(client.connected, true)
  await client.endAsync()
  const again = await connectMqtt(t, endpoint, { clientId: 'device' })
  assert.equal(again.connected, true)
})
