// Who takes part: the package to install, and how to use it (module and version) in worker.mjs. A layer is what lies below
// ours, and no peer: `loops/` has it.
export const CLIENTS = [
  { name: 'ours', ours: true, package: '..', module: 'ours', version: 5 },
  { name: 'ours, 3.1.1', ours: true, package: '..', module: 'ours', version: 3 },
  { name: 'MQTT.js', package: 'mqtt', module: 'mqttjs', version: 3 },
  { name: 'MQTT.js, 5', package: 'mqtt', module: 'mqttjs', version: 5, optional: true },
  { name: 'AWS, 3.1.1', package: 'aws-iot-device-sdk-v2', module: 'aws3', version: 3, sample: true },
  { name: 'AWS, 5', package: 'aws-iot-device-sdk-v2', module: 'aws5', version: 5 },
  { name: 'engine alone', layer: true, module: 'engine', version: 5 },
  { name: 'TLS alone', layer: true, module: 'tls', version: 3 },
]
