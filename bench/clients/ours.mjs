// custom-authorizer-connect, from this checkout.
import { connectWithCustomAuthorizer } from '../../dist/client.js'

const QOS = [{ qos: 0 }, { qos: 1 }]

export function connector({ host, port, ca, websocket, credentials, version }) {
  return async (clientId) => {
    const connection = await connectWithCustomAuthorizer({
      endpoint: host,
      port,
      clientId,
      mqttVersion: version,
      ...credentials,
      tls: { caFile: ca },
      transport: websocket ? 'websocket' : 'tls',
      limits: 'none',
    })
    return {
      publish(topic, payload, qos, settle) {
        connection.publish(topic, payload, QOS[qos]).then(() => settle(), settle)
      },
      async subscribe(filter, qos, onMessage) {
        await connection.subscribe(filter, QOS[qos], (message) => onMessage(message.payload.byteLength))
      },
      /** Resolves when subscribed; the loop goes on until `onMessage` has had enough. */
      async iterate(filter, qos, onMessage) {
        const subscription = await connection.subscribe(filter, QOS[qos])
        const loop = async () => {
          for await (const message of subscription) if (onMessage(message.payload.byteLength)) break
        }
        void loop()
      },
      disconnect: () => connection.disconnect(),
    }
  }
}
