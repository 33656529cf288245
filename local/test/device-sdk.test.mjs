import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import sdk from 'aws-iot-device-sdk-v2'
import { createTokenKey, grant, ofType, start } from './support.mjs'

// The AWS IoT Device SDK v2, with its own builders for custom authorizers.
const { iot, mqtt, io } = sdk
const key = createTokenKey()
const token = 'token-value'
const signature = key.sign(token)
const signed = { handler: () => grant(), tokenKeyName: 'tok', tokenSigningPublicKeys: { main: key.pem } }
const options = { authorizers: { Signed: signed }, defaultAuthorizer: undefined }

const Builder3 = iot.AwsIotMqttConnectionConfigBuilder
const CLIENT_5 = fileURLToPath(new URL('device-sdk-client.mjs', import.meta.url))

/** Connects with MQTT 5; where that succeeds, sends itself a message. Resolves with what came of it. */
async function run5(t, { port, ca }, transport, tokenSignature) {
  const customAuth = {
    authorizerName: 'Signed',
    username: 'device',
    password: 'pw',
    tokenKeyName: 'tok',
    tokenValue: token,
    // The builder for WebSocket leaves the encoding to its caller.
    tokenSignature: transport === 'websocket' ? encodeURIComponent(tokenSignature) : tokenSignature,
  }
  const settings = JSON.stringify({ transport, port, ca, customAuth })
  const running = promisify(execFile)(process.execPath, [CLIENT_5, settings])
  t.after(() => running.child.kill())
  return JSON.parse((await running).stdout)
}

function create3(t, endpoint, builder, tokenSignature = signature) {
  builder.with_custom_authorizer('device', 'Signed', tokenSignature, 'pw', 'tok', token)
  builder.with_certificate_authority(endpoint.ca)
  builder.with_endpoint('localhost')
  builder.with_port(endpoint.port)
  builder.with_client_id('sdk')
  builder.with_clean_session(true)
  return new mqtt.MqttClient(new io.ClientBootstrap()).new_connection(builder.build())
}

function checkEvent(endpoint, protocols) {
  const { event } = endpoint.invocations[0]
  assert.deepEqual(event.protocols, protocols)
  assert.equal(event.token, token)
  assert.equal(event.signatureVerified, true)
  assert.equal(event.protocolData.tls.serverName, 'localhost')
  assert.equal(event.protocolData.mqtt.password, 'cHc=')
  assert.equal(event.protocolData.mqtt.clientId, 'sdk')
  assert.equal(
    event.protocolData.http?.headers['sec-websocket-protocol'],
    protocols.includes('http') ? 'mqtt' : undefined,
  )
}

for (const [transport, protocols] of [
  ['direct', ['tls', 'mqtt']],
  ['websocket', ['tls', 'http', 'mqtt']],
]) {
  test(`the SDK's MQTT 5 client connects (${transport})`, async (t) => {
    const endpoint = await start(t, options)
    const outcome = await run5(t, endpoint, transport, signature)
    assert.deepEqual(outcome, { reasonCode: 0, receivedBytes: 100_000 })
    checkEvent(endpoint, protocols)
  })

  test(`the SDK's MQTT 5 client is told that its signature is wrong (${transport})`, async (t) => {
    const endpoint = await start(t, options)
    assert.deepEqual(await run5(t, endpoint, transport, key.sign('another')), { reasonCode: 0x87 })
    assert.equal(ofType(endpoint, 'connect-refused')[0].rule, 'signature-mismatch')
  })
}

for (const [what, newBuilder, protocols] of [
  ['direct', () => Builder3.new_default_builder(), ['tls', 'mqtt']],
  ['websocket', () => Builder3.new_with_websockets(), ['tls', 'http', 'mqtt']],
]) {
  test(`the SDK's MQTT 3.1.1 client connects (${what})`, async (t) => {
    const endpoint = await start(t, options)
    const connection = create3(t, endpoint, newBuilder())
    await connection.connect()
    checkEvent(endpoint, protocols)
    const received = new Promise((resolve) => {
      void connection
        .subscribe('a/b', 1, (_topic, payload) => resolve(payload))
        .then(() => connection.publish('a/b', 'x'.repeat(100_000), 1))
    })
    assert.equal((await received).byteLength, 100_000)
    await connection.disconnect()
  })

  test(`the SDK's MQTT 3.1.1 client is hung up on when its signature is wrong (${what})`, async (t) => {
    const endpoint = await start(t, options)
    const connection = create3(t, endpoint, newBuilder(), key.sign('another'))
    connection.on('error', () => {})
    await assert.rejects(connection.connect())
    assert.equal(ofType(endpoint, 'connect-refused')[0].rule, 'signature-mismatch')
  })
}
