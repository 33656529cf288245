import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { allow, ARN, grant, lastOfType, ofType, start, unsigned } from './support.mjs'

/** mosquitto_pub and mosquitto_sub: clients in C that nobody here wrote. */
const missing = spawnSync('mosquitto_pub', ['--help']).error !== undefined
const required = process.env.CI === 'true' || process.env.REQUIRE_MOSQUITTO === '1'
const skip = missing && 'mosquitto_pub is not there; install it with: apt-get install mosquitto-clients'

if (missing && required) {
  test('mosquitto_pub and mosquitto_sub are installed', () => {
    assert.fail(skip)
  })
}

/** Starts an endpoint, and waits for its events. */
async function startWatched(t, options = {}) {
  const waiting = new Set()
  const endpoint = await start(t, {
    ...options,
    log: (event) => {
      for (const wait of waiting) if (wait.matches(event)) wait.resolve(event)
    },
  })
  const until = (matches) => new Promise((resolve) => waiting.add({ matches, resolve }))
  return { endpoint, until }
}

const common = ({ endpoint, port, caFile }, version) => [
  '-h',
  endpoint,
  '-p',
  String(port),
  '--cafile',
  caFile,
  '--tls-alpn',
  'mqtt',
  '-V',
  version,
]

/** Runs to its end; gives what it printed. */
function run(t, command, args) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => child.kill('SIGKILL'))
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (data) => (stdout += data))
  child.stderr.on('data', (data) => (stderr += data))
  const result = once(child, 'close').then(([code]) => ({ code, stdout, stderr }))
  return { child, result }
}

async function publish(t, endpoint, version, ...args) {
  const { code, stderr } = await run(t, 'mosquitto_pub', [...common(endpoint, version), ...args]).result
  assert.equal(code, 0, stderr)
}

const subscribe = (t, endpoint, version, ...args) =>
  run(t, 'mosquitto_sub', [...common(endpoint, version), ...args])

for (const version of ['mqttv311', 'mqttv5']) {
  test(`${version}: mosquitto_sub gets what mosquitto_pub publishes`, { skip }, async (t) => {
    const { endpoint, until } = await startWatched(t)
    const subscribed = until(({ type }) => type === 'subscribe')
    const { result } = subscribe(t, endpoint, version, '-q', '1', '-t', 'a/#', '-v', '-C', '2')
    await subscribed
    await publish(t, endpoint, version, '-q', '0', '-t', 'a/zero', '-m', 'first')
    await publish(t, endpoint, version, '-q', '1', '-t', 'a/one', '-m', 'second')
    const { code, stdout } = await result
    assert.deepEqual([code, stdout], [0, 'a/zero first\na/one second\n'])
  })

  test(
    `${version}: user name and password reach the authorizer that the user name names`,
    { skip },
    async (t) => {
      const { endpoint } = await startWatched(t, {
        authorizers: { Named: unsigned(), Other: unsigned() },
        defaultAuthorizer: 'Other',
      })
      const user = 'me?x-amz-customauthorizer-name=Named'
      await publish(t, endpoint, version, '-u', user, '-P', 'secret', '-t', 'a', '-m', 'x')
      const [{ authorizer, event }] = endpoint.invocations
      assert.equal(authorizer, 'Named')
      assert.equal(event.protocolData.mqtt.username, user)
      assert.equal(Buffer.from(event.protocolData.mqtt.password, 'base64').toString(), 'secret')
    },
  )

  test(`${version}: mosquitto_pub is told that it is refused`, { skip }, async (t) => {
    const { endpoint } = await startWatched(t, {
      authorizers: { Open: unsigned({ isAuthenticated: false }) },
      profile: 'friendly',
    })
    const { result } = run(t, 'mosquitto_pub', [...common(endpoint, version), '-t', 'a', '-m', 'x'])
    const { code, stderr } = await result
    assert.notEqual(code, 0)
    assert.match(stderr, /not authori[sz]ed/i)
  })

  test(`${version}: a retained message is kept, and an empty one deletes it`, { skip }, async (t) => {
    const { endpoint } = await startWatched(t)
    await publish(t, endpoint, version, '-r', '-q', '1', '-t', 'state', '-m', 'on')
    const kept = await subscribe(t, endpoint, version, '-t', 'state', '-F', '%r %p', '-C', '1').result
    assert.equal(kept.stdout, '1 on\n')
    await publish(t, endpoint, version, '-r', '-q', '1', '-t', 'state', '-n')
    // -E: leaves with the SUBACK. What is retained would have been on its way by then.
    const deleted = await subscribe(t, endpoint, version, '-t', 'state', '-E').result
    assert.deepEqual([deleted.code, ofType(endpoint, 'receive').length], [0, 1])
  })

  test(`${version}: the will of a mosquitto_sub that dies is published`, { skip }, async (t) => {
    const { endpoint, until } = await startWatched(t)
    const watching = until(({ type, filter }) => type === 'subscribe' && filter === 'will')
    const watcher = subscribe(t, endpoint, version, '-t', 'will', '-C', '1')
    await watching
    const dyingIsThere = until(({ type, filter }) => type === 'subscribe' && filter === 'nothing')
    const will = ['--will-topic', 'will', '--will-payload', 'gone', '--will-qos', '1']
    const dying = subscribe(t, endpoint, version, '-t', 'nothing', ...will)
    await dyingIsThere
    dying.child.kill('SIGKILL')
    assert.equal((await watcher.result).stdout, 'gone\n')
  })

  test(`${version}: one member of a shared subscription gets each message`, { skip }, async (t) => {
    const { endpoint, until } = await startWatched(t)
    const printed = []
    let enough
    const allPrinted = new Promise((resolve) => (enough = resolve))
    for (const clientId of ['left', 'right']) {
      const subscribed = until((event) => event.type === 'subscribe' && event.clientId === clientId)
      const args = ['-i', clientId, '-t', '$share/g/work', '-q', '1']
      const { child } = subscribe(t, endpoint, version, ...args)
      child.stdout.on('data', (data) => {
        printed.push(...String(data).trim().split('\n'))
        if (printed.length >= 5) enough()
      })
      await subscribed
    }
    for (let n = 0; n < 5; n++) await publish(t, endpoint, version, '-q', '1', '-t', 'work', '-m', String(n))
    await allPrinted
    assert.deepEqual(printed.toSorted(), [...'01234'])
    assert.equal(ofType(endpoint, 'receive').length, 5)
  })

  test(`${version}: a session is resumed, with what was published meanwhile`, { skip }, async (t) => {
    const { endpoint } = await startWatched(t)
    const session = ['-c', '-i', 'device', '-q', '1', '-t', 'a']
    if (version === 'mqttv5') session.push('-x', '600')
    assert.equal((await subscribe(t, endpoint, version, ...session, '-E').result).code, 0)
    for (const payload of ['1', '2', '3'])
      await publish(t, endpoint, version, '-q', '1', '-t', 'a', '-m', payload)
    const { stdout } = await subscribe(t, endpoint, version, ...session, '-C', '3').result
    assert.equal(stdout, '1\n2\n3\n')
    assert.equal(
      ofType(endpoint, 'connected').findLast(({ clientId }) => clientId === 'device').sessionPresent,
      true,
    )
  })
}

test('mqttv5: a filter that the policy denies is refused, and mosquitto_sub says so', { skip }, async (t) => {
  const { endpoint } = await startWatched(t, {
    authorizers: {
      Open: unsigned(grant(allow('iot:Connect'), allow('iot:Subscribe', `${ARN}:topicfilter/open`))),
    },
  })
  const { result } = subscribe(t, endpoint, 'mqttv5', '-t', 'closed', '-E')
  const { stderr } = await result
  assert.match(stderr, /denied|not authori[sz]ed/i)
  assert.equal(lastOfType(endpoint, 'subscribe').allowed, false)
})

test('mqttv5: properties travel from mosquitto_pub to mosquitto_sub', { skip }, async (t) => {
  const { endpoint, until } = await startWatched(t)
  const subscribed = until(({ type }) => type === 'subscribe')
  const { result } = subscribe(t, endpoint, 'mqttv5', '-t', 'a', '-C', '1', '-F', '%C %R %P %p')
  await subscribed
  const properties =
    '-D publish content-type text/plain -D publish response-topic reply -D publish user-property k v'
  await publish(t, endpoint, 'mqttv5', '-t', 'a', '-m', 'x', ...properties.split(' '))
  assert.equal((await result).stdout, 'text/plain reply k:v x\n')
})
