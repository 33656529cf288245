// The MQTT 5 client of aws-iot-device-sdk-v2.
import { once } from 'node:events'
import { iot, mqtt5 } from 'aws-iot-device-sdk-v2'

export function connector({ host, port, ca, credentials }) {
  // Built once, so that all connections share the TLS context.
  const config = iot.AwsIotMqtt5ClientConfigBuilder.newDirectMqttBuilderWithCustomAuth(host, credentials)
    .withCertificateAuthorityFromPath(undefined, ca)
    .withPort(port)
    // Otherwise it holds publishes back to IoT Core's rates.
    .withExtendedValidationAndFlowControlOptions(mqtt5.ClientExtendedValidationAndFlowControl.None)
    .build()
  return async (clientId) => {
    const connectProperties = { ...config.connectProperties, clientId }
    const client = new mqtt5.Mqtt5Client({ ...config, connectProperties })
    const connected = once(client, 'connectionSuccess')
    client.start()
    await connected
    return {
      publish(topicName, payload, qos, settle) {
        client.publish({ topicName, payload, qos }).then(() => settle(), settle)
      },
      async subscribe(topicFilter, qos, onMessage) {
        client.on('messageReceived', ({ message }) => onMessage(message.payload.byteLength))
        await client.subscribe({ subscriptions: [{ topicFilter, qos }] })
      },
      async disconnect() {
        const stopped = once(client, 'stopped')
        client.stop({ reasonCode: mqtt5.DisconnectReasonCode.NormalDisconnection })
        await stopped
        client.close()
      },
    }
  }
}
