import assert from 'node:assert/strict'
import { test } from 'node:test'
import exposure from '../dist/front-door/exposure.js'
import { ofType, start } from './support.mjs'

for (const address of ['127.0.0.1', '127.1.2.3', '::1', '::ffff:127.0.0.1']) {
  test(`${address} is this machine's alone`, () => {
    assert.deepEqual(exposure.exposureWarnings(address, 1), [])
  })
}

for (const address of ['0.0.0.0', '::', '192.0.2.1', '::ffff:192.0.2.1', 'fe80::1']) {
  test(`${address} is warned of`, () => {
    const [warning] = exposure.exposureWarnings(address, 8883)
    assert.ok(warning.startsWith(`the endpoint listens on ${address}, port 8883, which is not loopback`))
  })
}

test('an endpoint on loopback has no warnings', async (t) => {
  const endpoint = await start(t)
  assert.deepEqual(endpoint.warnings, [])
  assert.equal(ofType(endpoint, 'warning').length, 0)
})
