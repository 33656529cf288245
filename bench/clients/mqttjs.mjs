// MQTT.js, which knows no custom authorizers: the user name is put together by hand.
import { readFileSync } from 'node:fs'
import mqtt from 'mqtt'

export function connector({ host, port, ca, credentials, version }) {
  const authority = readFileSync(ca)
  return (clientId) =>
    new Promise((resolve, reject) => {
      const client = mqtt.connect({
        protocol: 'mqtts',
        host,
        port,
        ca: authority,
        ALPNProtocols: ['mqtt'],
        protocolVersion: version === 5 ? 5 : 4,
        clientId,
        username: `${credentials.username}?x-amz-customauthorizer-name=${credentials.authorizerName}`,
        password: credentials.password,
        reconnectPeriod: 0,
      })
      client.on('error', reject)
      client.once('connect', () => resolve(new Connection(client)))
    })
}

class Connection {
  #client

  constructor(client) {
    this.#client = client
  }

  publish(topic, payload, qos, settle) {
    this.#client.publish(topic, payload, { qos }, settle)
  }

  async subscribe(filter, qos, onMessage) {
    this.#client.on('message', (_topic, payload) => onMessage(payload.byteLength))
    await this.#client.subscribeAsync(filter, { qos })
  }

  disconnect() {
    return this.#client.endAsync()
  }
}
