import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { cli } from './support/cli.mjs'
import { skip, startMosquitto } from './support/mosquitto.mjs'

const FOUR_LINES = 'Connecting...\nConnection completed.\nDisconnecting...\nDisconnect completed.\n'

let broker
let directory
let args
before(async () => {
  if (skip) return
  broker = await startMosquitto({ websocket: true })
  directory = await mkdtemp(join(tmpdir(), 'custom-authorizer-ca-'))
  const file = join(directory, 'ca.pem')
  await writeFile(file, broker.ca)
  args = ['--endpoint', 'localhost', '--port', String(broker.port), '--ca_file', file]
})
after(async () => {
  await broker?.close()
  if (directory !== undefined) await rm(directory, { recursive: true })
})

for (const version of ['3', '5']) {
  test(`--transport websocket, MQTT ${version}: the four lines`, { skip }, async () => {
    const { code, stdout, stderr } = await cli([...args, '--transport', 'websocket', '-V', version])
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: FOUR_LINES, stderr: '' })
  })
}

test('--transport tls to a port of WebSocket fails', { skip }, async () => {
  const { code, stdout } = await cli([...args, '--transport', 'tls'])
  assert.deepEqual({ code, stdout }, { code: 1, stdout: 'Connecting...\n' })
})
