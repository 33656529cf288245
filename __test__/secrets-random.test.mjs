import assert from 'node:assert/strict'
import { generateKeyPairSync, randomInt } from 'node:crypto'
import { after, test } from 'node:test'
import { inspect } from 'node:util'
import { connectWithCustomAuthorizer, diagnose } from '../dist/client.js'
import { conclude } from '../build/verdict.js'
import { startPeer } from './support/scripted-peer.mjs'

const CASES = 30
const AWS = 'abc123-ats.iot.eu-west-1.amazonaws.com'
const LETTERS = [...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789']
const OTHERS = [...'+/=&?%#"\'\\<> ~-_.:;,!$(){}[]@*ä€😀']

const privateKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({
  type: 'pkcs8',
  format: 'pem',
})
const keyLine = privateKey.split('\n')[7]

const peer = await startPeer()
after(() => peer.close())

const pick = (list) => list[randomInt(list.length)]

/** Some letters in a row, so that it is no word that stands elsewhere by chance, among whatever there is. */
function randomSecret() {
  const run = Array.from({ length: 12 }, () => pick(LETTERS))
  const around = () => Array.from({ length: randomInt(12) }, () => pick([...LETTERS, ...OTHERS]))
  return [...around(), ...run, ...around()].join('')
}

/** How a secret may be written. */
function forms(secret) {
  const bytes = Buffer.from(secret)
  return [
    secret,
    encodeURIComponent(secret),
    bytes.toString('base64'),
    bytes.toString('base64url'),
    bytes.toString('hex'),
    JSON.stringify(secret).slice(1, -1),
    inspect(secret).slice(1, -1),
  ]
}

function shown(value) {
  const deep = { depth: Infinity, showHidden: true, maxStringLength: null, maxArrayLength: null }
  return [inspect(value, deep), String(value?.stack), JSON.stringify(value) ?? ''].join('\n')
}

for (const transport of ['tls', 'websocket']) {
  test(`over ${transport}, random secrets that a server repeats reach no error, log or diagnosis`, async (t) => {
    const at = transport === 'tls' ? peer : await startPeer({ websocket: true })
    if (at !== peer) t.after(() => at.close())
    for (let number = 0; number < CASES; number++) {
      const secrets = { password: randomSecret(), tokenValue: randomSecret() }
      const inQuery = randomSecret()
      const inHeader = randomSecret()
        .replaceAll(/[^ -~]/gu, '')
        .trim()
      const texts = []
      const options = {
        ...at.where,
        authorizerName: 'Fleet',
        username: pick([
          `me?tenant=${encodeURIComponent(inQuery)}`,
          `me?${encodeURIComponent(inQuery)}`,
          `?${encodeURIComponent(inQuery)}&tenant=a`,
        ]),
        ...secrets,
        tokenKeyName: 'tok',
        tokenSigningKey: privateKey,
        tokenEncoding: pick(['auto', 'percent']),
        reconnect: false,
        logLevel: 'trace',
        logger: (record) => texts.push(shown(record)),
        ...(transport === 'websocket' && {
          websocket: {
            credentialsIn: pick(['connect', 'query']),
            path: pick(['/mqtt', `/mqtt?tenant=${encodeURIComponent(inQuery)}`]),
            headers: { 'X-Tenant': inHeader },
          },
        }),
      }
      const echo = async () => {
        const link = await at.accept()
        const { username } = await link.expect('connect')
        const said = pick([
          pick(forms(secrets.password)),
          pick(forms(secrets.tokenValue)),
          pick(forms(inQuery)),
          username ?? '',
          JSON.stringify(secrets),
        ])
        link.send({
          cmd: 'connack',
          returnCode: 0x87,
          reasonCode: 0x87,
          sessionPresent: false,
          properties: { reasonString: `refused: ${said}` },
        })
        return username
      }
      const [error, username] = await Promise.all([
        connectWithCustomAuthorizer(options).catch((reason) => reason),
        echo(),
      ])
      const [diagnosis] = await Promise.all([diagnose(options), echo()])
      // That it was refused, in both, is what makes this test one.
      assert.equal(error.code, 'ERR_NOT_AUTHORIZED')
      assert.equal(diagnosis.error.code, 'ERR_NOT_AUTHORIZED')
      texts.push(shown(error), shown(diagnosis))
      const { authorizerName, username: given, websocket } = options
      const login = { authorizerName, username: given, hasPassword: true, hasToken: true, warnings: [] }
      const subject = { endpoint: AWS, clientId: 'c', transport, websocket, login }
      const { commands } = conclude(subject, { steps: [], error, refused: true })
      assert.ok(commands.length > 0)
      texts.push(...commands)

      const signature = /x-amz-customauthorizer-signature=([^&]+)/.exec(username ?? '')?.[1]
      const hidden = [secrets.password, secrets.tokenValue, keyLine, inQuery, inHeader]
      if (signature !== undefined) hidden.push(signature, decodeURIComponent(signature))
      const all = texts.join('\n')
      for (const form of hidden.flatMap(forms)) {
        assert.ok(!all.includes(form), `${form} of ${JSON.stringify(secrets)} in ${all}`)
      }
    }
  })
}

test('random secrets that a server repeats in any packet reach no result, error or log', async () => {
  for (let number = 0; number < CASES; number++) {
    const password = randomSecret()
    const texts = []
    const said = () => ({ properties: { reasonString: `refused: ${pick(forms(password))}` } })
    const { connection, link } = await peer.connect({
      username: 'me',
      password,
      reconnect: false,
      logLevel: 'trace',
      logger: (record) => texts.push(shown(record)),
    })
    const outcome = (operation) => operation.then(shown, shown).then((text) => texts.push(text))
    for (const reasonCode of [0x10, 0x87]) {
      const published = outcome(connection.publish('t', 'p', { qos: 1 }))
      const { messageId } = await link.expect('publish')
      link.send({ cmd: 'puback', messageId, reasonCode, ...said() })
      await published
    }
    for (const code of [1, 0x87]) {
      const subscribing = connection.subscribe('f')
      const subscribed = outcome(subscribing)
      const { messageId } = await link.expect('subscribe')
      link.send({ cmd: 'suback', messageId, granted: [code], ...said() })
      await subscribed
      if (code === 1) texts.push((await subscribing).reasonString ?? '')
    }
    const unsubscribed = outcome(connection.unsubscribe('f'))
    const { messageId } = await link.expect('unsubscribe')
    link.send({ cmd: 'unsuback', messageId, granted: [0], ...said() })
    await unsubscribed
    link.send({ cmd: 'disconnect', reasonCode: 0x97, ...said() })
    texts.push(shown(await connection.closed))
    const all = texts.join('\n')
    assert.match(all, /0x97/)
    for (const form of forms(password)) assert.ok(!all.includes(form), `${form} of ${password} in ${all}`)
  }
})
