import assert from 'node:assert/strict'
import { once } from 'node:events'
import { inspect } from 'node:util'
import { after, test } from 'node:test'
import { AT_ONCE, LATE, refuse, startEndingPeer, turnAway } from './support/scripted-peer.mjs'

const peer = await startEndingPeer()
after(() => peer.close())

const retry = { initialConnect: 'retry' }
const login = (connect) => ({ username: connect.username, password: connect.password?.toString() })
/** The user name in parts: what stands before the query, and the query's items. */
const parts = (username) => {
  const [name, query = ''] = username.split('?')
  return { name, ...Object.fromEntries(new URLSearchParams(query)) }
}

/** What `onAttempt` gets. */
function reported() {
  const reports = []
  return { reports, onAttempt: (report) => reports.push(report) }
}

/** A promise, and what settles it. */
function deferred() {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}

test('credentials are asked before each attempt, and each answer logs in alone', async () => {
  const asked = []
  const connecting = peer.dial({
    ...retry,
    clientId: 'me',
    credentials: ({ number, clientId, lastError, signal }) => {
      asked.push({ number, clientId, lastError: lastError?.code, aborted: signal.aborted })
      return { username: `user ${number}`, password: `password ${number}` }
    },
  })
  const logins = [login(await turnAway(peer)), login(await refuse(peer))]
  const link = await peer.welcome()
  logins.push(login(link.connect))
  const connection = await connecting
  link.end()
  await once(connection, 'interrupt')
  logins.push(login((await peer.welcome()).connect))
  assert.deepEqual(asked, [
    { number: 1, clientId: 'me', lastError: undefined, aborted: false },
    { number: 2, clientId: 'me', lastError: 'ERR_CLOSED_BEFORE_CONNACK', aborted: false },
    { number: 3, clientId: 'me', lastError: 'ERR_NOT_AUTHORIZED', aborted: false },
    { number: 4, clientId: 'me', lastError: 'ERR_CONNECTION_LOST', aborted: false },
  ])
  assert.deepEqual(
    logins,
    [1, 2, 3, 4].map((number) => ({ username: `user ${number}`, password: `password ${number}` })),
  )
  await connection.disconnect()
})

test('without a failure before there is no lastError at all', async () => {
  let attempt
  const connecting = peer.dial({ credentials: (given) => ((attempt = given), {}) })
  await peer.welcome()
  const connection = await connecting
  assert.ok(!('lastError' in attempt))
  await connection.disconnect()
})

test('what the answer does not have is not kept from the answer before', async () => {
  const answers = [{ username: 'first', password: 'secret' }, { username: 'second' }, {}]
  const connecting = peer.dial({ ...retry, credentials: async () => answers.shift() })
  const logins = [login(await turnAway(peer)), login(await turnAway(peer))]
  logins.push(login((await peer.welcome()).connect))
  assert.deepEqual(logins, [
    { username: 'first', password: 'secret' },
    { username: 'second', password: undefined },
    { username: undefined, password: undefined },
  ])
  await (await connecting).disconnect()
})

test('name, user, key name and encoding of the options are used where the answer has none', async () => {
  const answers = [
    { tokenValue: 'token-1', tokenSignature: 'c2ln' },
    {
      authorizerName: 'Other',
      username: 'other',
      tokenKeyName: 'key',
      tokenValue: 'token-2',
      tokenSignature: 'c2ln',
    },
  ]
  const connecting = peer.dial({
    ...retry,
    authorizerName: 'Static',
    username: 'static',
    tokenKeyName: 'token',
    credentials: () => answers.shift(),
  })
  const first = parts((await turnAway(peer)).username)
  const second = parts((await peer.welcome()).connect.username)
  assert.deepEqual(first, {
    name: 'static',
    'x-amz-customauthorizer-name': 'Static',
    'x-amz-customauthorizer-signature': 'c2ln',
    token: 'token-1',
  })
  assert.deepEqual(second, {
    name: 'other',
    'x-amz-customauthorizer-name': 'Other',
    'x-amz-customauthorizer-signature': 'c2ln',
    key: 'token-2',
  })
  await (await connecting).disconnect()
})

test('a binary password arrives byte for byte', async () => {
  const bytes = Buffer.from([0, 255, 128])
  const connecting = peer.dial({ credentials: () => ({ username: 'u', password: bytes }) })
  const link = await peer.welcome()
  assert.deepEqual(link.connect.password, Buffer.from([0, 255, 128]))
  await (await connecting).disconnect()
})

test('expiresAt may be a Date or a number of milliseconds', async () => {
  for (const expiresAt of [new Date(Date.now() + 3_600_000), Date.now() + 3_600_000]) {
    const connecting = peer.dial({ credentials: () => ({ username: 'u', expiresAt }) })
    await peer.welcome()
    await (await connecting).disconnect()
  }
})

for (const [name, value] of [
  ['password', 'secret'],
  ['tokenValue', 'secret'],
  ['tokenSignature', 'c2VjcmV0'],
]) {
  test(`${name} beside credentials: ERR_INVALID_OPTION that names it, and nobody is asked`, async () => {
    const connecting = peer.dial({
      [name]: value,
      tokenKeyName: 'token',
      credentials: () => assert.fail('asked'),
    })
    await assert.rejects(connecting, (error) => {
      assert.equal(error.code, 'ERR_INVALID_OPTION')
      assert.match(error.message, new RegExp(name))
      assert.ok(!inspect(error).includes(value))
      return true
    })
  })
}

for (const [how, fail] of [
  [
    'throws',
    (error) => {
      throw error
    },
  ],
  [
    'rejects',
    async (error) => {
      throw error
    },
  ],
]) {
  test(`credentials that ${how}: ERR_CREDENTIALS with it as the cause, and asked again`, async () => {
    const { reports, onAttempt } = reported()
    const thrown = new Error('the token service is away')
    const lastErrors = []
    const connecting = peer.dial({
      ...retry,
      onAttempt,
      credentials: ({ number, lastError }) => {
        lastErrors.push(lastError)
        return number === 1 ? fail(thrown) : { username: 'u' }
      },
    })
    const link = await peer.welcome()
    assert.equal(link.connect.username, 'u')
    const connection = await connecting
    const [{ number, error, nextDelayMs }] = reports
    assert.deepEqual(
      [number, error.code, error.stage, error.retryable, typeof nextDelayMs],
      [1, 'ERR_CREDENTIALS', 'credentials', true, 'number'],
    )
    assert.equal(error.cause, thrown)
    assert.equal(lastErrors[1].code, 'ERR_CREDENTIALS')
    assert.equal(lastErrors[1].cause, thrown)
    await connection.disconnect()
  })
}

test('credentials that throw at the first attempt reject the call, where that is to fail', async () => {
  const thrown = new Error('the token service is away')
  const connecting = peer.dial({
    credentials: () => {
      throw thrown
    },
  })
  await assert.rejects(connecting, (error) => {
    assert.deepEqual([error.code, error.stage, error.cause], ['ERR_CREDENTIALS', 'credentials', thrown])
    return true
  })
})

for (const [what, thrown] of [
  ['undefined', undefined],
  ['a string', 'away'],
  ['an object without a prototype', Object.create(null)],
]) {
  test(`credentials may throw ${what}: ERR_CREDENTIALS`, async () => {
    const connecting = peer.dial({
      credentials: async () => {
        throw thrown
      },
    })
    await assert.rejects(connecting, ({ code, cause }) => {
      assert.deepEqual([code, cause], ['ERR_CREDENTIALS', thrown])
      return true
    })
  })
}

test('an error with retryable: false ends the attempts', async () => {
  const { reports, onAttempt } = reported()
  const thrown = Object.assign(new Error('this device was retired'), { retryable: false })
  const connecting = peer.dial({
    ...retry,
    onAttempt,
    credentials: () => {
      throw thrown
    },
  })
  await assert.rejects(connecting, { code: 'ERR_CREDENTIALS', retryable: false, cause: thrown })
  assert.equal(reports.length, 1)
  assert.equal(reports[0].nextDelayMs, undefined)
})

test('an error with retryable: false ends a connection that is lost, and what waits for it', async () => {
  const thrown = Object.assign(new Error('this device was retired'), { retryable: false })
  const { connection, link } = await peer.connect({
    credentials: ({ number }) => {
      if (number === 1) return { username: 'u' }
      throw thrown
    },
  })
  const publishing = connection.publish('a', '')
  const rejected = assert.rejects(publishing, { code: 'ERR_CREDENTIALS', cause: thrown })
  await link.expect('publish')
  link.end()
  await rejected
  const { error, unsettled } = await connection.closed
  assert.deepEqual([error.code, error.cause, unsettled], ['ERR_CREDENTIALS', thrown, 1])
})

test('no answer in time: ERR_CREDENTIALS, the signal is aborted, and the late answer is ignored', async () => {
  const { reports, onAttempt } = reported()
  const late = deferred()
  const aborted = deferred()
  const connecting = peer.dial({
    ...retry,
    onAttempt,
    credentialsTimeoutMs: 30,
    credentials: ({ number, signal }) => {
      if (number > 1) return { username: `user ${number}` }
      signal.addEventListener('abort', () => {
        late.resolve({ username: 'late' })
        aborted.resolve()
      })
      return late.promise
    },
  })
  await aborted.promise
  const link = await peer.welcome()
  assert.equal(link.connect.username, 'user 2')
  const connection = await connecting
  assert.deepEqual([reports[0].error.code, reports[0].error.stage], ['ERR_CREDENTIALS', 'credentials'])
  assert.match(reports[0].error.message, /30 ms/)
  assert.deepEqual(
    reports.map(({ number, error }) => `${number} ${error?.code}`),
    ['1 ERR_CREDENTIALS', '2 undefined'],
  )
  await connection.disconnect()
})

test('a rejection behind the timeout is nothing that nobody handles', async () => {
  const late = deferred()
  const connecting = peer.dial({
    credentialsTimeoutMs: 20,
    credentials: ({ signal }) => {
      signal.addEventListener('abort', () => late.reject(signal.reason))
      return late.promise
    },
  })
  await assert.rejects(connecting, { code: 'ERR_CREDENTIALS' })
  await assert.rejects(late.promise)
  await new Promise((resolve) => setImmediate(resolve))
})

test('the time for credentials is not that of connecting', async () => {
  const answer = deferred()
  const connecting = peer.dial({ connectTimeoutMs: 1_000, credentials: () => answer.promise })
  // Another connect takes as long as this one may at most.
  const other = peer.dial({ connectTimeoutMs: 1_000 })
  const rejected = assert.rejects(other, { code: 'ERR_CONNECT_TIMEOUT' })
  const silent = await peer.accept()
  await silent.expect('connect')
  await rejected
  answer.resolve({ username: 'u' })
  const link = await peer.welcome()
  assert.equal(link.connect.username, 'u')
  await (await connecting).disconnect()
})

for (const [what, answer, field] of [
  ['undefined', undefined, /object/],
  ['null', null, /object/],
  ['a string', 'hush-hush', /object/],
  ['an array', ['hush-hush'], /object/],
  ['an unknown field', { passwort: 'hush-hush' }, /passwort/],
  ['a user name that is a number', { username: 7, password: 'hush-hush' }, /username/],
  ['a password that is an object', { password: { value: 'hush-hush' } }, /password/],
  ['expiresAt in seconds', { password: 'hush-hush', expiresAt: 1_800_000_000 }, /expiresAt.*seconds/s],
  ['expiresAt as text', { password: 'hush-hush', expiresAt: '2040-01-01' }, /expiresAt/],
  ['expiresAt that is no date', { expiresAt: new Date(Number.NaN) }, /expiresAt/],
  ['expiresAt NaN', { expiresAt: Number.NaN }, /expiresAt/],
  ['a token without a signature', { tokenKeyName: 'token', tokenValue: 'hush-hush' }, /tokenSignature/],
  ['a signature without a token', { tokenKeyName: 'token', tokenSignature: 'aHVzaC1odXNo' }, /tokenValue/],
  [
    'a signature that is no base64',
    { tokenKeyName: 'token', tokenValue: 'hush-hush', tokenSignature: 'hush-hush!' },
    /tokenSignature/,
  ],
  [
    'a key that is none',
    { tokenKeyName: 'token', tokenValue: 'hush-hush', tokenSigningKey: 'hush-hush' },
    /key/i,
  ],
  ['an encoding that is none', { tokenEncoding: 'base64' }, /tokenEncoding/],
]) {
  test(`credentials that return ${what}: ERR_CREDENTIALS that names it, and no secret`, async () => {
    const connecting = peer.dial({ credentials: async () => answer })
    await assert.rejects(connecting, (error) => {
      assert.deepEqual(
        [error.name, error.code, error.stage, error.retryable],
        ['MqttError', 'ERR_CREDENTIALS', 'credentials', true],
      )
      assert.match(error.message, field)
      assert.doesNotMatch(inspect(error), /hush-hush|aHVzaC1odXNo/)
      return true
    })
  })
}

test('credentials that cannot be used are asked for again', async () => {
  const { reports, onAttempt } = reported()
  const answers = [{ tokenKeyName: 'token', tokenValue: 'a' }, { expiresAt: 1 }, { username: 'u' }]
  const connecting = peer.dial({ ...retry, onAttempt, credentials: () => answers.shift() })
  const link = await peer.welcome()
  assert.equal(link.connect.username, 'u')
  assert.deepEqual(
    reports.slice(0, 2).map(({ error }) => error.code),
    ['ERR_CREDENTIALS', 'ERR_CREDENTIALS'],
  )
  await (await connecting).disconnect()
})

test('disconnect() while credentials are asked for aborts their signal, and ends at once', async () => {
  const asked = deferred()
  const { connection, link } = await peer.connect({
    credentials: ({ number, signal }) => {
      if (number === 1) return {}
      asked.resolve(signal)
      return new Promise(() => {})
    },
  })
  link.end()
  const signal = await asked.promise
  assert.equal(signal.aborted, false)
  await connection.disconnect({ timeoutMs: 2 ** 31 - 1 })
  assert.equal(signal.aborted, true)
  assert.deepEqual(await connection.closed, { unsettled: 0 })
})

test('aborting the call while credentials are asked for aborts their signal', async () => {
  const asked = deferred()
  const controller = new AbortController()
  const reason = new Error('changed my mind')
  const aborted = deferred()
  const connecting = peer.dial({
    signal: controller.signal,
    credentials: ({ signal }) => {
      signal.addEventListener('abort', aborted.resolve)
      asked.resolve()
      return new Promise(() => {})
    },
  })
  const rejected = assert.rejects(connecting, (error) => error === reason)
  await asked.promise
  controller.abort(reason)
  await rejected
  await aborted.promise
})

test('while credentials are asked for, publishes wait', async () => {
  const answer = deferred()
  const connection = await peer.dial({
    initialConnect: 'background',
    credentials: () => answer.promise,
  })
  const publishing = connection.publish('a', '')
  answer.resolve({ username: 'u' })
  const link = await peer.welcome()
  assert.equal((await link.acknowledge()).topic, 'a')
  await publishing
  await connection.disconnect()
})

test('credentials are not asked during the back-off', async () => {
  let asked = 0
  const { connection, link } = await peer.connect({ ...LATE, credentials: () => (asked++, {}) })
  link.end()
  await once(connection, 'interrupt')
  await connection.disconnect()
  assert.equal(asked, 1)
})

test('maxAttempts counts attempts whose credentials failed', async () => {
  const { reports, onAttempt } = reported()
  const connecting = peer.dial({
    ...retry,
    onAttempt,
    reconnect: { ...AT_ONCE.reconnect, maxAttempts: 3 },
    credentials: () => {
      throw new Error('away')
    },
  })
  await assert.rejects(connecting, { code: 'ERR_CREDENTIALS' })
  assert.equal(reports.length, 3)
})

for (const value of [0, -1, Number.NaN, Infinity, '1']) {
  test(`credentialsTimeoutMs ${value}: ERR_INVALID_OPTION`, async () => {
    await assert.rejects(peer.dial({ credentials: () => ({}), credentialsTimeoutMs: value }), {
      code: 'ERR_INVALID_OPTION',
      message: /credentialsTimeoutMs/,
    })
  })
}

test('credentials that are no function: ERR_INVALID_OPTION', async () => {
  await assert.rejects(peer.dial({ credentials: { username: 'u' } }), {
    code: 'ERR_INVALID_OPTION',
    message: /credentials/,
  })
})
