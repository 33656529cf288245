import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connectAsync } from 'mqtt'
import { WebSocket } from 'ws'
import { connectPacket, RawClient } from './support.mjs'

/** A `ws` client that has sent nothing yet. */
export async function openWebSocket(t, endpoint, { path = '/mqtt', protocols = 'mqtt', ...options } = {}) {
  const webSocket = new WebSocket(`wss://localhost:${endpoint.port}${path}`, protocols, {
    ca: endpoint.ca,
    ...options,
  })
  t.after(() => webSocket.terminate())
  webSocket.on('error', () => {})
  const closed = once(webSocket, 'close').then(([code]) => code)
  await once(webSocket, 'open')
  return { webSocket, closed }
}

/** The same, with packets on it; each packet goes in a frame of its own. */
export async function openPackets(t, endpoint, protocolVersion = 5) {
  const { webSocket, closed } = await openWebSocket(t, endpoint)
  const adapter = {
    on: (event, listener) => webSocket.on(event === 'data' ? 'message' : event, (value) => listener(value)),
    once: (event, listener) => webSocket.once(event, listener),
    write: (bytes) => webSocket.send(bytes),
  }
  const client = new RawClient(adapter, protocolVersion)
  return { client, webSocket, closed }
}

export async function connectPackets(t, endpoint, { protocolVersion = 5, ...fields } = {}) {
  const opened = await openPackets(t, endpoint, protocolVersion)
  const connack = await opened.client.ask(connectPacket(protocolVersion, fields))
  assert.equal(connack.cmd, 'connack')
  return opened
}

/** MQTT.js over WebSocket. */
export async function connectMqttJs(t, endpoint, { path = '/mqtt', ...options } = {}) {
  const client = await connectAsync(`wss://localhost:${endpoint.port}${path}`, {
    ca: endpoint.ca,
    reconnectPeriod: 0,
    clientId: 'dash-42',
    ...options,
    wsOptions: { ca: endpoint.ca, ...options.wsOptions },
  })
  t.after(() => client.endAsync(true))
  return client
}
