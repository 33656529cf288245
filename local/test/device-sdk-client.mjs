// An MQTT 5 client of the AWS IoT Device SDK v2 in a process of its own: the SDK would keep a test's process alive.
import { once } from 'node:events'
import sdk from 'aws-iot-device-sdk-v2'

const { iot, mqtt5 } = sdk
const { transport, port, ca, customAuth } = JSON.parse(process.argv[2])
const { AwsIotMqtt5ClientConfigBuilder: Builder } = iot

const build =
  transport === 'websocket'
    ? Builder.newWebsocketMqttBuilderWithCustomAuth
    : Builder.newDirectMqttBuilderWithCustomAuth
const builder = build('localhost', customAuth)
  .withPort(port)
  .withCertificateAuthority(ca)
  .withConnectProperties({ clientId: 'sdk', keepAliveIntervalSeconds: 60 })
const client = new mqtt5.Mqtt5Client(builder.build())
const outcome = Promise.race([once(client, 'connectionSuccess'), once(client, 'connectionFailure')])
client.start()
const [{ connack }] = await outcome
let receivedBytes
if (connack?.reasonCode === 0) {
  await client.subscribe({ subscriptions: [{ topicFilter: 'a/b', qos: 1 }] })
  const received = once(client, 'messageReceived')
  await client.publish({ topicName: 'a/b', qos: 1, payload: 'x'.repeat(100_000) })
  receivedBytes = (await received)[0].message.payload.byteLength
}
process.stdout.write(JSON.stringify({ reasonCode: connack?.reasonCode, receivedBytes }), () => process.exit())
