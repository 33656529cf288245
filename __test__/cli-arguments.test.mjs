import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UsageError, parseArguments } from '../build/cli/arguments.js'
import { logLevelOf, settingsFrom } from '../build/cli/settings.js'

const settings = (...argv) => settingsFrom(parseArguments(argv))
/** The same from one line of words. */
const settingsOf = (line) => settings(...line.split(' '))
const refusal = (...argv) => {
  try {
    settings(...argv)
  } catch (error) {
    assert.ok(error instanceof UsageError, error.stack)
    return `${error.message}\n${error.hint}`
  }
  return assert.fail('it was accepted')
}

test('without further flags the defaults are those of the AWS sample', () => {
  const { sample, options } = settings('--endpoint', 'host')
  const { clientId, ...rest } = options
  assert.equal(sample, 'connect')
  assert.match(clientId, /^test-\d{1,8}$/)
  assert.deepEqual(rest, {
    endpoint: 'host',
    mqttVersion: 3,
    cleanSession: false,
    keepAliveSeconds: 1200,
    reconnect: false,
    proxy: 'environment',
  })
})

test('every flag of the AWS sample reaches its option', () => {
  const { sample, options } = settingsOf(
    '--endpoint host --ca_file ca.pem --client_id me --mqtt_version 5 --is_ci --transport tls ' +
      '--proxy_host proxy --proxy_port 3128 ' +
      '--custom_auth_username user --custom_auth_authorizer_name Auth --port 8443 ' +
      '--custom_auth_authorizer_signature c2ln --custom_auth_password pass ' +
      '--custom_auth_token_key_name key --custom_auth_token_value token --verbosity none',
  )
  assert.equal(sample, 'connect')
  assert.deepEqual(options, {
    endpoint: 'host',
    port: 8443,
    clientId: 'me',
    mqttVersion: 5,
    transport: 'tls',
    tls: { caFile: 'ca.pem' },
    proxy: 'http://proxy:3128',
    cleanSession: false,
    keepAliveSeconds: 1200,
    reconnect: false,
    authorizerName: 'Auth',
    username: 'user',
    password: 'pass',
    tokenKeyName: 'key',
    tokenValue: 'token',
    tokenSignature: 'c2ln',
  })
})

test("the newer samples' flags and short forms reach their options and select those samples", () => {
  const long = settingsOf(
    '--endpoint host --client_id me --authorizer_name Auth --auth_username user ' +
      '--auth_password pass --auth_signature c2ln --auth_token_key_name key ' +
      '--auth_token_key_value token --topic a/b --message Hi --count 7',
  )
  assert.deepEqual(long, {
    sample: 'pubsub',
    topic: 'a/b',
    message: 'Hi',
    count: 7,
    options: {
      endpoint: 'host',
      clientId: 'me',
      mqttVersion: 5,
      cleanSession: true,
      keepAliveSeconds: 1200,
      reconnect: false,
      proxy: 'environment',
      authorizerName: 'Auth',
      username: 'user',
      password: 'pass',
      tokenKeyName: 'key',
      tokenValue: 'token',
      tokenSignature: 'c2ln',
    },
  })
  const short = settingsOf(
    '-e host -C me -a Auth -u user -p pass -s c2ln -k key ' +
      '--auth_token_key_value token -t a/b -m Hi -n 7',
  )
  assert.deepEqual(short, long)
})

test("the newer samples' defaults", () => {
  const { sample, options, topic, message, count } = settings('-e', 'host', '-a', 'Auth')
  assert.equal(sample, 'pubsub')
  assert.equal(options.mqttVersion, 5)
  assert.match(options.clientId, /^mqtt5-sample-[0-9a-f]{8}$/)
  assert.equal(topic, 'test/topic')
  assert.equal(message, 'Hello from mqtt5 sample')
  assert.equal(count, 5)
  assert.equal(options.reconnect, false)
})

test('only a run without end makes a lost connection again', () => {
  const endless = settingsOf('-e host -a Auth -n 0')
  assert.equal(endless.count, 0)
  assert.ok(!('reconnect' in endless.options))
  assert.equal(settingsOf('-e host -a Auth -n 1').options.reconnect, false)
  assert.equal(settingsOf('--endpoint host').options.reconnect, false)
})

for (const flag of [
  'authorizer_name',
  'auth_username',
  'auth_password',
  'auth_signature',
  'topic',
  'message',
]) {
  test(`--${flag} alone selects the newer samples`, () => {
    assert.equal(settings('-e', 'host', `--${flag}=x`).sample, 'pubsub')
  })
}

test('-v stays the verbosity', () => {
  const given = parseArguments(['-e', 'host', '-v', 'debug'])
  assert.equal(logLevelOf(given), 'debug')
  assert.equal(settingsFrom(given).sample, 'connect')
})

test('fatal logs nothing, since a fatal failure is reported in any case', () => {
  assert.equal(logLevelOf(parseArguments(['-v', 'fatal'])), 'none')
})

test('a value may follow in every form that yargs took', () => {
  for (const argv of [
    ['--client_id', 'me'],
    ['--client_id=me'],
    ['--clientId', 'me'],
    ['--clientId=me'],
    ['--client-id=me'],
    ['-C', 'me'],
    ['-C=me'],
    ['-Cme'],
  ]) {
    assert.equal(settings('-e', 'host', ...argv).options.clientId, 'me', argv.join(' '))
  }
})

test('a value keeps its equals signs, its spaces and its line feeds', () => {
  assert.equal(settings('-e', 'host', '--custom_auth_password=a=b= c\nd').options.password, 'a=b= c\nd')
  assert.equal(settings('-e', 'host', '-pa=b=').options.password, 'a=b=')
})

test('a switch takes an optional true or false', () => {
  for (const argv of [['--is_ci'], ['--is_ci', 'true'], ['--is_ci=false'], ['--isCi', 'false']]) {
    assert.equal(settings('-e', 'host', ...argv, '-C', 'me').options.clientId, 'me')
  }
  assert.match(refusal('-e', 'host', '--is_ci=maybe'), /^--is_ci must be true or false/)
})

test('an empty value counts as absent', () => {
  const { options } = settings('-e', 'host', '--custom_auth_username', '', '--client_id=', '--mqtt_version=')
  assert.ok(!('username' in options))
  assert.match(options.clientId, /^test-/)
  assert.equal(options.mqttVersion, 3)
  assert.match(refusal('--endpoint='), /^--endpoint is required/)
})

test('both families of names may be mixed where they agree', () => {
  const { sample, options } = settings('-e', 'host', '-u', 'user', '--custom_auth_username', 'user', '-n1')
  assert.equal(sample, 'pubsub')
  assert.equal(options.username, 'user')
  assert.equal(settings('-e', 'host', '-u', '', '--custom_auth_username', 'user').options.username, 'user')
})

test('two names of one meaning that differ are refused without their values', () => {
  const text = refusal('-e', 'host', '--auth_password', 'sesame', '--custom_auth_password', 'mellon')
  assert.match(text, /^--auth_password and --custom_auth_password mean the same and differ/)
  assert.doesNotMatch(text, /sesame|mellon/)
})

for (const [unknown, known] of [
  ['--custom_auth_pasword', '--custom_auth_password'],
  ['--endpiont', '--endpoint'],
  ['--clientID', '--client_id'],
  ['--password', '--auth_password'],
  ['--cafile', '--ca_file'],
  ['--verbose', '--verbosity'],
  ['--Count', '--count'],
  ['-E', '-e'],
]) {
  test(`${unknown} is refused and ${known} named`, () => {
    const text = refusal('-e', 'host', `${unknown}=sesame`)
    assert.match(text, new RegExp(`^Unknown flag ${unknown}\\.\nDid you mean ${known}\\?`))
    assert.doesNotMatch(text, /sesame/)
  })
}

test('whatever the unknown flag is, some known one is named', () => {
  assert.match(refusal('--zzzzzzzzzzzz'), /Did you mean --?\w+\?/)
  assert.match(refusal('-x'), /Did you mean --?\w+\?/)
})

test('a long name after one dash is refused, not read as a short flag and its value', () => {
  assert.match(refusal('-endpoint', 'host'), /^Unknown flag -endpoint\.\nDid you mean --endpoint\?/)
  assert.match(refusal('-help'), /^Unknown flag -help\./)
})

test('what was meant as a secret is not echoed as an unknown flag', () => {
  assert.doesNotMatch(refusal('-e', 'host', '--se:same'), /same/)
  assert.doesNotMatch(refusal('-e', 'host', '-zsesame'), /sesame/)
})

test('a flag without its value is refused', () => {
  assert.match(refusal('-e', 'host', '--custom_auth_password'), /^--custom_auth_password needs a value/)
  assert.match(refusal('--endpoint', '--client_id', 'me'), /^--endpoint needs a value/)
  const text = refusal('-e', 'host', '-p', '-sesame')
  assert.match(
    text,
    /^-p needs a value\.\nA value that begins with a dash is written --auth_password=<value>/,
  )
  assert.doesNotMatch(text, /sesame/)
  assert.equal(settings('-e', 'host', '--auth_password=-sesame').options.password, '-sesame')
})

test('a word that belongs to no flag is refused by its place', () => {
  const text = refusal('-e', 'host', '-m', 'hello', 'sesame')
  assert.match(text, /^Argument 5 is not a flag/)
  assert.doesNotMatch(text, /sesame/)
  assert.match(refusal('-e', 'host', '--'), /^Argument 3 is not a flag/)
  assert.match(refusal('-e', 'host', '-'), /^Argument 3 is not a flag/)
})

test('a flag that is given twice is refused, in whatever form', () => {
  assert.match(refusal('-e', 'host', '--endpoint=host'), /^--endpoint is given twice/)
  assert.match(refusal('-e', 'host', '--is_ci', '--isCi'), /^--is_ci is given twice/)
})

for (const value of ['4', '3.1.1', 'five']) {
  test(`--mqtt_version ${value} is refused, and 3 is said to mean MQTT 3.1.1`, () => {
    assert.match(
      refusal('-e', 'host', '-V', value),
      /^--mqtt_version must be 3 or 5, where 3 means MQTT 3\.1\.1/,
    )
  })
}

for (const value of ['0', '65536', '-1', '1e3', '44x', ' 443', '99999999999999999999']) {
  test(`--port ${value} is refused`, () => {
    assert.match(refusal('-e', 'host', '--port', value), /^--port must be a whole number from 1 to 65535/)
  })
}

test('--transport takes tls and websocket, and nothing else', () => {
  assert.equal(settings('-e', 'host', '--transport', 'websocket').options.transport, 'websocket')
  assert.ok(!('transport' in settings('-e', 'host', '--transport=').options))
  assert.match(refusal('-e', 'host', '--transport', 'wss'), /^--transport must be one of tls, websocket/)
})

for (const [argv, proxy] of [
  [[], 'environment'],
  [['--proxy_host', ''], 'environment'],
  [['--proxy_host', 'proxy.example'], 'http://proxy.example:8080'],
  [['--proxyHost', 'proxy.example', '--proxy-port', '3128'], 'http://proxy.example:3128'],
  [['--proxy_host', '10.0.0.1', '--proxy_port='], 'http://10.0.0.1:8080'],
  [['--proxy_host', 'fd00::1'], 'http://[fd00::1]:8080'],
]) {
  test(`${argv.join(' ') || 'no flag of a proxy'}: the proxy is ${proxy}`, () => {
    assert.equal(settings('-e', 'host', ...argv).options.proxy, proxy)
  })
}

for (const host of [
  'http://proxy',
  'socks5://user:sesame@proxy:1080',
  'user:sesame@proxy',
  'proxy:3128',
  'proxy/sesame',
  'proxy?sesame',
  'proxy#sesame',
  'pro xy',
  '[::1]',
  'proxy%40',
]) {
  test(`--proxy_host ${host} is refused without its value, and HTTPS_PROXY named for URLs`, () => {
    const text = refusal('-e', 'host', '--proxy_host', host)
    assert.match(text, /^--proxy_host must be a host name alone\.\n.*--proxy_port.*HTTPS_PROXY/)
    assert.doesNotMatch(text, /sesame/)
  })
}

test('--proxy_port is refused without --proxy_host', () => {
  assert.match(refusal('-e', 'host', '--proxy_port', '3128'), /^--proxy_port is given without --proxy_host/)
  assert.match(refusal('-e', 'host', '--proxy_host=', '--proxy_port=1'), /^--proxy_port is given without/)
})

for (const value of ['0', '65536', 'http']) {
  test(`--proxy_port ${value} is refused`, () => {
    const text = refusal('-e', 'host', '--proxy_host', 'proxy', '--proxy_port', value)
    assert.match(text, /^--proxy_port must be a whole number from 1 to 65535/)
  })
}

test('--count takes whole numbers from 0', () => {
  assert.equal(settings('-e', 'host', '-n', '0').count, 0)
  for (const value of ['-1', '1.5', 'all']) {
    assert.match(refusal('-e', 'host', '-n', value), /^--count must be a whole number from 0/)
  }
})

test('an unknown verbosity is refused with the known ones', () => {
  const text = refusal('-e', 'host', '-v', 'loud')
  assert.match(text, /^--verbosity must be one of fatal, error, warn, info, debug, trace, none/)
  assert.doesNotMatch(text, /loud/)
})
