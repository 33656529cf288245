import type { ConnectOptions } from '../../index.js'

/** Which of AWS's samples a flag comes from. Any flag of `pubsub` selects that sample. */
export type Sample = 'connect' | 'pubsub'

/** What a flag means, whatever its name: an option of the client, or a setting of this command. */
export type Meaning =
  | Exclude<keyof ConnectOptions, 'tls' | 'websocket' | 'proxy'>
  | 'caFile'
  | 'proxyHost'
  | 'proxyPort'
  | 'topic'
  | 'message'
  | 'count'
  | 'takeOver'
  | 'probePublish'
  | 'publicKey'
  | 'json'
  | 'verbosity'
  | 'isCi'
  | 'help'
  | 'version'

export interface Flag {
  readonly name: string
  readonly short?: string
  readonly meaning: Meaning
  readonly group: keyof typeof GROUPS
  /** What the value is, for the help. A flag without it is a switch. */
  readonly value?: string
  readonly help: string
  /** As the help words it. */
  readonly fallback?: string
  readonly sample?: Sample
  /** Of this command alone. */
  readonly command?: 'diagnose'
  /** Takes `env:NAME` and `-` too, since arguments show in a process list. */
  readonly secret?: true
  readonly choices?: readonly string[]
  readonly range?: readonly [min: number, max: number]
}

export const GROUPS = {
  connection: 'Connection',
  connect: "Authorizer, as in AWS's custom_authorizer_connect sample",
  pubsub: "Authorizer and messages, as in AWS's newer samples (any of these selects them)",
  diagnose: 'Only after the word diagnose',
  other: 'Other',
} as const

/** The one table of flags. Parsing, the help and the nearest known flag all come from it. */
export const FLAGS: readonly Flag[] = [
  {
    name: 'endpoint',
    short: 'e',
    meaning: 'endpoint',
    group: 'connection',
    value: 'host',
    help: 'Host name of the IoT data endpoint, without https:// and port.',
    fallback: 'required',
  },
  {
    name: 'port',
    meaning: 'port',
    group: 'connection',
    value: 'number',
    range: [1, 65_535],
    help: 'Port of the endpoint.',
    fallback: 'default 443',
  },
  {
    name: 'ca_file',
    short: 'r',
    meaning: 'caFile',
    group: 'connection',
    value: 'path',
    help: 'PEM file of the certificate authorities to trust.',
    fallback: "default: the system's",
  },
  {
    name: 'transport',
    meaning: 'transport',
    group: 'connection',
    value: 'tls|websocket',
    choices: ['tls', 'websocket'],
    help: 'What carries MQTT: TLS alone, or WebSocket over TLS.',
    fallback: 'default tls',
  },
  {
    name: 'proxy_host',
    meaning: 'proxyHost',
    group: 'connection',
    value: 'host',
    help: 'Host name of an HTTP proxy.',
    fallback: 'default: HTTPS_PROXY, ALL_PROXY and NO_PROXY of the environment',
  },
  {
    name: 'proxy_port',
    meaning: 'proxyPort',
    group: 'connection',
    value: 'number',
    range: [1, 65_535],
    help: 'Port of that proxy.',
    fallback: 'default 8080',
  },
  {
    name: 'client_id',
    short: 'C',
    meaning: 'clientId',
    group: 'connection',
    value: 'id',
    help: 'MQTT client id.',
    fallback: 'default test-<random>, or mqtt5-sample-<random>',
  },
  {
    name: 'mqtt_version',
    short: 'V',
    meaning: 'mqttVersion',
    group: 'connection',
    value: '3|5',
    choices: ['3', '5'],
    help: '3 is MQTT 3.1.1.',
    fallback: 'default 3, or 5 in the newer samples',
  },
  {
    name: 'custom_auth_authorizer_name',
    meaning: 'authorizerName',
    group: 'connect',
    value: 'name',
    sample: 'connect',
    help: 'Name of the authorizer.',
    fallback: "default: the endpoint's default authorizer",
  },
  {
    name: 'custom_auth_username',
    meaning: 'username',
    group: 'connect',
    value: 'text',
    sample: 'connect',
    help: 'User name.',
  },
  {
    name: 'custom_auth_password',
    meaning: 'password',
    group: 'connect',
    value: 'secret',
    sample: 'connect',
    secret: true,
    help: 'Password.',
  },
  {
    name: 'custom_auth_token_key_name',
    meaning: 'tokenKeyName',
    group: 'connect',
    value: 'name',
    sample: 'connect',
    help: 'Name under which a signing authorizer expects the token.',
  },
  {
    name: 'custom_auth_token_value',
    meaning: 'tokenValue',
    group: 'connect',
    value: 'secret',
    sample: 'connect',
    secret: true,
    help: 'The token.',
  },
  {
    name: 'custom_auth_authorizer_signature',
    meaning: 'tokenSignature',
    group: 'connect',
    value: 'secret',
    sample: 'connect',
    secret: true,
    help: 'Signature of the token in base64, percent-encoded or not.',
  },
  {
    name: 'authorizer_name',
    short: 'a',
    meaning: 'authorizerName',
    group: 'pubsub',
    value: 'name',
    sample: 'pubsub',
    help: 'Name of the authorizer.',
    fallback: "default: the endpoint's default authorizer",
  },
  {
    name: 'auth_username',
    short: 'u',
    meaning: 'username',
    group: 'pubsub',
    value: 'text',
    sample: 'pubsub',
    help: 'User name.',
  },
  {
    name: 'auth_password',
    short: 'p',
    meaning: 'password',
    group: 'pubsub',
    value: 'secret',
    sample: 'pubsub',
    secret: true,
    help: 'Password.',
  },
  {
    name: 'auth_token_key_name',
    short: 'k',
    meaning: 'tokenKeyName',
    group: 'pubsub',
    value: 'name',
    sample: 'pubsub',
    help: 'Name under which a signing authorizer expects the token.',
  },
  {
    name: 'auth_token_key_value',
    meaning: 'tokenValue',
    group: 'pubsub',
    value: 'secret',
    sample: 'pubsub',
    secret: true,
    help: 'The token.',
  },
  {
    name: 'auth_signature',
    short: 's',
    meaning: 'tokenSignature',
    group: 'pubsub',
    value: 'secret',
    sample: 'pubsub',
    secret: true,
    help: 'Signature of the token in base64, percent-encoded or not.',
  },
  {
    name: 'topic',
    short: 't',
    meaning: 'topic',
    group: 'pubsub',
    value: 'topic',
    sample: 'pubsub',
    help: 'Topic to publish to and to subscribe to.',
    fallback: 'default test/topic',
  },
  {
    name: 'message',
    short: 'm',
    meaning: 'message',
    group: 'pubsub',
    value: 'text',
    sample: 'pubsub',
    help: 'Text of the messages; each gets its number.',
    fallback: 'default "Hello from mqtt5 sample"',
  },
  {
    name: 'count',
    short: 'n',
    meaning: 'count',
    group: 'pubsub',
    value: 'number',
    sample: 'pubsub',
    range: [0, Number.MAX_SAFE_INTEGER],
    help: 'How many messages; 0 runs on until Ctrl-C.',
    fallback: 'default 5',
  },
  {
    name: 'take_over',
    meaning: 'takeOver',
    group: 'diagnose',
    command: 'diagnose',
    help: 'Sends CONNECT although --client_id is given, which throws out whoever uses it now.',
  },
  {
    name: 'probe_publish',
    meaning: 'probePublish',
    group: 'diagnose',
    command: 'diagnose',
    help: 'Publishes a small message to --topic: subscribers and rules get it. Without, --topic is subscribed to alone.',
  },
  {
    name: 'public_key',
    meaning: 'publicKey',
    group: 'diagnose',
    command: 'diagnose',
    value: 'path',
    help: "PEM file of the authorizer's public key: the token's signature is checked with it.",
  },
  {
    name: 'json',
    meaning: 'json',
    group: 'diagnose',
    command: 'diagnose',
    help: 'Prints the diagnosis as JSON, at its end.',
  },
  {
    name: 'verbosity',
    short: 'v',
    meaning: 'verbosity',
    group: 'other',
    value: 'level',
    choices: ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'none'],
    help: 'Logs to stderr: fatal, error, warn, info, debug, trace or none. Secrets are never logged.',
    fallback: 'default none',
  },
  {
    name: 'is_ci',
    meaning: 'isCi',
    group: 'other',
    help: 'Accepted for compatibility; changes nothing.',
  },
  {
    name: 'help',
    short: 'h',
    meaning: 'help',
    group: 'other',
    help: 'Shows this text.',
  },
  {
    name: 'version',
    meaning: 'version',
    group: 'other',
    help: 'Shows the version.',
  },
]

/** The flag of this long name, also as `--caFile` and `--ca-file`. */
export function findLong(name: string): Flag | undefined {
  const snake = snakeCase(name)
  return FLAGS.find((flag) => flag.name === snake)
}

export function findShort(letter: string): Flag | undefined {
  return FLAGS.find((flag) => flag.short === letter)
}

/** The flag of this meaning in the words of one sample. */
export function flagFor(meaning: Meaning, sample: Sample): Flag | undefined {
  return FLAGS.find((flag) => flag.meaning === meaning && (flag.sample ?? sample) === sample)
}

/** The known flag that an unknown name comes nearest to, written as on a command line. */
export function nearest(unknown: string): string {
  let best = ''
  let bestDistance = Infinity
  for (const { name, short } of FLAGS) {
    for (const known of short === undefined ? [name] : [name, short]) {
      const distance = distanceTo(known, unknown)
      if (distance < bestDistance) [best, bestDistance] = [known, distance]
    }
  }
  return best.length === 1 ? `-${best}` : `--${best}`
}

function snakeCase(name: string): string {
  if (name.includes('_')) return name
  return name.replace(/-/g, '_').replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

function distanceTo(known: string, unknown: string): number {
  if (unknown.length === 1 || known.length === 1) {
    return known.toLowerCase() === unknown.toLowerCase() ? 0 : Math.max(known.length, unknown.length)
  }
  const word = snakeCase(unknown).toLowerCase()
  // `--password` means one of the passwords, however many letters it lacks; of several the shortest.
  if (word.length > 2 && known.includes(word)) return 1 + known.length / 100
  return editDistance(known, word)
}

/** Insertions, deletions, substitutions and swaps of neighbours that turn one word into the other. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let cost = Math.min(row[j - 1]! + 1, last[j]! + 1, last[j - 1]! + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, beforeLast[j - 2]! + 1)
      }
      row.push(cost)
    }
    beforeLast = last
    last = row
  }
  return last[b.length]!
}
