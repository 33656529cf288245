// The MQTT 3.1.1 client of aws-iot-device-sdk-v2.
import { iot, mqtt } from 'aws-iot-device-sdk-v2'

export function connector({ host, port, ca, credentials }) {
  // Built once, so that all connections share the TLS context, as its authors mean it.
  const config = iot.AwsIotMqttConnectionConfigBuilder.new_default_builder()
    .with_endpoint(host)
    .with_client_id('bench')
    .with_certificate_authority_from_path(undefined, ca)
    .with_clean_session(true)
    .with_custom_authorizer(credentials.username, credentials.authorizerName, '', credentials.password)
    .with_port(port)
    .build()
  const client = new mqtt.MqttClient()
  return async (clientId) => {
    const connection = client.new_connection({ ...config, client_id: clientId })
    await connection.connect()
    return {
      publish(topic, payload, qos, settle) {
        connection.publish(topic, payload, qos).then(() => settle(), settle)
      },
      async subscribe(filter, qos, onMessage) {
        await connection.subscribe(filter, qos, (_topic, payload) => onMessage(payload.byteLength))
      },
      disconnect: () => connection.disconnect(),
    }
  }
}
