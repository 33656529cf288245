import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { Needles } from '../dist/authorizer/needles.js'
import { Secrets } from '../dist/authorizer/secrets.js'
import { ANSWER, folder, startModule } from './module-support.mjs'
import { connectPacket, connectRaw, lastOfType, ofType, openRaw, start } from './support.mjs'

const secretsOf = ({ username, password, headers, token } = {}) =>
  new Secrets({
    token,
    signatureVerified: false,
    protocols: ['mqtt'],
    protocolData: {
      mqtt: {
        username,
        ...(password !== undefined && { password: Buffer.from(password).toString('base64') }),
      },
      ...(headers !== undefined && { http: { headers, queryString: '' } }),
    },
    connectionMetadata: { id: 'c' },
  })

/** 10,900 parameters of six characters, as many as a user name has room for. */
const CROWD = `?${Array.from({ length: 10_900 }, (_, n) => n.toString(36).padStart(5, 'q')).join('&')}`

// Much to look for

test('a user name with more secrets than are looked for hides all that its handler prints', async (t) => {
  const text = `export const handler = async ({ protocolData: { mqtt } }) => {
    console.log('authorizing', mqtt.clientId)
    console.log(mqtt.username)
    throw new Error('unknown ' + mqtt.username.slice(-5))
  }`
  const path = await folder(t, { 'a.mjs': text })
  const { endpoint } = await startModule(t, path('a.mjs'))
  const client = await openRaw(t, endpoint)
  await client.ask(connectPacket(5, { username: CROWD }))
  assert.deepEqual(
    ofType(endpoint, 'handler-log').map((event) => event.text),
    ['(hidden)', '(hidden)'],
  )
  const { message, stack } = lastOfType(endpoint, 'authorizer-answered')
  assert.deepEqual([message, stack], ['(hidden)', '(hidden)'])
})

test('many secrets that have their beginnings in common are each found', () => {
  const values = Array.from({ length: 150 }, (_, n) => `${'a'.repeat(n + 3)}b`)
  const secrets = secretsOf({ username: `?${values.join('&')}` })
  for (const value of values) assert.equal(secrets.hide(`<${value}>`), '<***>')
  assert.equal(secrets.hide(`<${'a'.repeat(500)}>`), `<${'a'.repeat(500)}>`)
})

test('texts are found wherever they overlap, begin or end', () => {
  const letters = 'ab'
  let seed = 7
  const random = (below) => (seed = (seed * 48_271) % 2_147_483_647) % below
  const word = (most) => Array.from({ length: 1 + random(most) }, () => letters[random(2)]).join('')
  for (let round = 0; round < 500; round++) {
    const needles = Array.from({ length: 1 + random(4) }, () => word(6))
    const text = word(30)
    assert.equal(
      new Needles(needles).replaceIn(text, '*'),
      replaceSlowly(text, needles),
      `${needles} ${text}`,
    )
  }
})

/** One mark for each run of needles that overlap. */
function replaceSlowly(text, needles) {
  const joined = Array.from({ length: text.length + 1 }, () => false)
  const inside = Array.from({ length: text.length }, () => false)
  for (const needle of needles) {
    for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + 1)) {
      for (let n = at; n < at + needle.length; n++) {
        inside[n] = true
        if (n > at) joined[n] = true
      }
    }
  }
  return [...text].map((letter, n) => (!inside[n] ? letter : joined[n] ? '' : '*')).join('')
}

// What a secret looks like

test('a secret is hidden in every form that a handler can give it', () => {
  const password = `a'b"c\`d\\e\u001bf\u00e9`
  const secrets = secretsOf({ password, username: '?key=one+two%2Fthree' })
  for (const text of [
    password,
    JSON.stringify({ password }),
    inspect({ password }),
    Buffer.from(password).toString('base64'),
    'one+two%2Fthree',
    'one+two/three',
    'one two/three',
  ]) {
    const shown = secrets.hide(`<${text}>`)
    assert.ok(shown.includes('***') && !/a'|\u00e9|one|three|YSdi/.test(shown), shown)
  }
})

test('a secret of several lines is hidden where each line stands by itself', () => {
  const lines = ['-----BEGIN-----', 'first-secret-line', 'second-secret-line'.repeat(5), '-----END-----']
  const password = lines.join('\n')
  const shown = secretsOf({ password }).hide(inspect({ password }))
  assert.doesNotMatch(shown, /first|second/)
})

test('a secret is hidden as the number that a handler reads from it', () => {
  assert.equal(secretsOf({ password: '048151623' }).hide(`no PIN ${Number('048151623')}`), 'no PIN ***')
})

test('what an ellipsis has left of a secret is hidden', () => {
  const secrets = secretsOf({ password: 'secret-password' })
  assert.equal(secrets.hide('it is "secret-pa..."'), 'it is "***..."')
  assert.equal(secrets.hide("{ pw: 'secret-pa'... 6 more characters }"), "{ pw: '***'... 6 more characters }")
  assert.equal(secrets.hide('secret-pa'), 'secret-pa')
})

test('a secret of one or two characters does not take a text apart', () => {
  const secrets = secretsOf({ password: 'e', username: '?v=1' })
  assert.equal(secrets.hide('line 1 of the event'), 'line 1 of the event')
  assert.equal(secrets.hide('e'), '***')
})

test('what handlers take out of a header is hidden, and what names it is not', () => {
  const basic = Buffer.from('user-name:pass:word').toString('base64')
  const headers = {
    authorization: 'Bearer bearer-token',
    'proxy-authorization': `Basic ${basic}`,
    cookie: 'sid=s%2Fid-value; theme=dark; padded=cGFkZGVk==',
    'x-digest': 'username="quoted-value", n=1',
    host: 'localhost',
  }
  const secrets = secretsOf({ headers })
  const hidden = ['bearer-token', basic, 'user-name', 'pass:word', 'user-name:pass:word', 's%2Fid-value']
  hidden.push('s/id-value', 'cGFkZGVk==', 'cGFkZGVk', 'quoted-value')
  for (const text of hidden) assert.equal(secrets.hide(`bad ${text}!`), 'bad ***!', text)
  const plain = 'Bearer and Basic, sid 1 at localhost'
  assert.equal(secrets.hide(plain), plain)
})

// What is cut short

test('a secret that is longer than what is shown of a stack is not shown in part', async (t) => {
  const password = 'long-password-'.repeat(360)
  const handler = () => {
    throw new Error(`wrong password ${password}`)
  }
  const endpoint = await start(t, { authorizers: { Open: { handler, signingDisabled: true } } })
  await (await openRaw(t, endpoint)).ask(connectPacket(5, { username: 'u', password }))
  const { stack } = lastOfType(endpoint, 'authorizer-answered')
  assert.match(stack, /^Error: wrong password \*\*\*\n +at /)
})

test('a secret where the output of a module is cut is not shown in part', async (t) => {
  const text = `export const handler = async ({ protocolData: { mqtt } }) => {
    console.log('-'.repeat(65530) + Buffer.from(mqtt.password, 'base64'))
    return ${ANSWER}
  }`
  const path = await folder(t, { 'a.mjs': text })
  const { endpoint } = await startModule(t, path('a.mjs'))
  await connectRaw(t, endpoint, { username: 'u', password: 'pa55word-of-a-user' })
  assert.match(
    lastOfType(endpoint, 'handler-log').text,
    /-\*\*\*\.\.\.\n\(what it prints after this is left out\)$/,
  )
})
