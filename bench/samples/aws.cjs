// The work of AWS's custom_authorizer_connect sample: the same calls, without its argument parser.
const { iot, mqtt } = require('aws-iot-device-sdk-v2')

const [endpoint, port, caFile, authorizerName, username, password] = process.argv.slice(2)

async function main() {
  const config = iot.AwsIotMqttConnectionConfigBuilder.new_default_builder()
    .with_certificate_authority_from_path(undefined, caFile)
    .with_custom_authorizer(username, authorizerName, '', password)
    .with_clean_session(false)
    .with_client_id(`test-${Math.floor(Math.random() * 100_000_000)}`)
    .with_endpoint(endpoint)
    .with_port(Number(port))
    .build()
  // Its promises do not keep Node alive.
  const timer = setInterval(() => {}, 20 * 1_000)
  const client = new mqtt.MqttClient()
  const connection = client.new_connection(config)
  console.log('Connecting...')
  await connection.connect()
  console.log('Connection completed.')
  console.log('Disconnecting...')
  await connection.disconnect()
  console.log('Disconnect completed.')
  clearInterval(timer)
}

main()
