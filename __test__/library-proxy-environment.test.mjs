import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'
import { nativeProxy } from '../build/proxy.js'

const PROXY = 'http://proxy.example:3128'
const endpoint = 'abc-ats.iot.eu-west-1.amazonaws.com'
/** The host of the proxy that this environment gives the endpoint; undefined: none. */
const hostOf = (environment, to = endpoint, port = undefined) =>
  nativeProxy('environment', to, port, environment)?.host

test('it loads neither the addon nor the client', () => {
  const noClient = fileURLToPath(new URL('./support/no-client.cjs', import.meta.url))
  const proxy = fileURLToPath(new URL('../build/proxy.js', import.meta.url))
  const { status, stderr } = spawnSync(process.execPath, ['--require', noClient, proxy])
  assert.equal(status, 0, stderr.toString())
})

test('without the option there is no proxy, whatever the environment says', () => {
  assert.equal(nativeProxy(undefined, endpoint, undefined, { HTTPS_PROXY: PROXY }), undefined)
})

test('a proxy that the app names is taken whatever NO_PROXY says', () => {
  assert.equal(nativeProxy(PROXY, endpoint, undefined, { NO_PROXY: '*' }).host, 'proxy.example')
})

for (const [url, expected] of [
  ['http://proxy.example:3128', { scheme: 'http', host: 'proxy.example', port: 3128 }],
  ['http://proxy.example:3128/', { scheme: 'http', host: 'proxy.example', port: 3128 }],
  ['HTTP://Proxy.Example', { scheme: 'http', host: 'proxy.example' }],
  ['http://proxy.example:80', { scheme: 'http', host: 'proxy.example' }],
  ['https://proxy.example', { scheme: 'https', host: 'proxy.example' }],
  ['https://proxy.example:80', { scheme: 'https', host: 'proxy.example', port: 80 }],
  ['socks5://proxy.example', { scheme: 'socks5', host: 'proxy.example' }],
  ['socks5://proxy.example:80/', { scheme: 'socks5', host: 'proxy.example', port: 80 }],
  ['socks5h://proxy.example:1080', { scheme: 'socks5', host: 'proxy.example', port: 1080 }],
  ['proxy.example', { scheme: 'http', host: 'proxy.example' }],
  ['proxy:3128', { scheme: 'http', host: 'proxy', port: 3128 }],
  ['user:pass@proxy:3128', { scheme: 'http', host: 'proxy', port: 3128, username: 'user', password: 'pass' }],
  [' http://proxy:3128\n', { scheme: 'http', host: 'proxy', port: 3128 }],
  ['127.0.0.1:3128', { scheme: 'http', host: '127.0.0.1', port: 3128 }],
  ['http://[::1]:3128', { scheme: 'http', host: '::1', port: 3128 }],
  ['socks5://[fd00::1]', { scheme: 'socks5', host: 'fd00::1' }],
  ['http://user@proxy', { scheme: 'http', host: 'proxy', username: 'user' }],
  ['http://:pass@proxy', { scheme: 'http', host: 'proxy', password: 'pass' }],
  [
    'http://us%3Aer:p%40%2F%23%25%C3%A9@proxy',
    { scheme: 'http', host: 'proxy', username: 'us:er', password: 'p@/#%é' },
  ],
  [
    'socks5://us%3Aer:p%40%2F%23%25%C3%A9@proxy',
    { scheme: 'socks5', host: 'proxy', username: 'us:er', password: 'p@/#%é' },
  ],
  ['http://user:pé$&+=@proxy', { scheme: 'http', host: 'proxy', username: 'user', password: 'pé$&+=' }],
  // Whether there is such a scheme is for the addon to say.
  ['ftp://proxy.example', { scheme: 'ftp', host: 'proxy.example' }],
  ['socks4://proxy.example:1080', { scheme: 'socks4', host: 'proxy.example', port: 1080 }],
]) {
  test(`${JSON.stringify(url)} is read as ${JSON.stringify(expected)}`, () => {
    assert.deepEqual(nativeProxy(url, endpoint, undefined, {}), expected)
  })
}

test('a URL object is read like its text', () => {
  const given = new URL('http://user:p%40ss@proxy:3128')
  const { username, password, port } = nativeProxy(given, endpoint, undefined, {})
  assert.deepEqual({ username, password, port }, { username: 'user', password: 'p@ss', port: 3128 })
  assert.equal(nativeProxy(new URL('proxy:3128'), endpoint, undefined, {}).host, 'proxy')
})

const MALFORMED = [
  '',
  'http://',
  'https://:3128',
  'socks5://',
  'socks5://:1080',
  'http://user:sesame@',
  'http://user:sesame@proxy:port',
  'http://user:sesame@proxy:65536',
  'http://user:sesame@pro xy',
  'http://user:sesame@proxy/path',
  'socks5://user:sesame@proxy/path',
  'http://user:sesame@proxy?sesame',
  'http://user:sesame@proxy#sesame',
  'http://user:12#sesame@proxy',
  'http://user:12/sesame@proxy',
  'http://user:12?sesame@proxy',
  'http://user:sesame%ZZ@proxy',
  'http://user:sesame%@proxy',
  'http://sesame%FF@proxy',
  'socks5://user:sesame%ZZ@proxy',
  'user:sesame://@proxy',
  'mailto:sesame',
]
for (const url of MALFORMED) {
  test(`${JSON.stringify(url)} is refused in words that hold no part of it`, () => {
    assert.throws(
      () => nativeProxy(url, endpoint, undefined, {}),
      (error) => {
        assert.deepEqual([error.code, error.stage], ['ERR_INVALID_OPTION', 'options'])
        assert.match(error.message, /^(the (user name|password) of )?proxy\b/)
        assert.match(error.hint, /percent-encoded/)
        assert.doesNotMatch(inspect(error, { depth: Infinity, showHidden: true }), /sesame/)
        return true
      },
    )
  })
}

for (const variable of ['https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY']) {
  test(`what cannot be read in ${variable} is refused by the name of the variable`, () => {
    assert.throws(
      () => hostOf({ [variable]: 'http://user:sesame%ZZ@proxy' }),
      (error) => {
        assert.equal(error.code, 'ERR_INVALID_OPTION')
        assert.ok(error.message.includes(`environment variable ${variable} `), error.message)
        assert.doesNotMatch(inspect(error, { depth: Infinity, showHidden: true }), /sesame/)
        return true
      },
    )
  })
}

for (const [what, environment, expected] of [
  ['nothing', {}, undefined],
  ['HTTPS_PROXY', { HTTPS_PROXY: 'http://a' }, 'a'],
  ['https_proxy', { https_proxy: 'http://a' }, 'a'],
  ['ALL_PROXY', { ALL_PROXY: 'socks5://a' }, 'a'],
  ['all_proxy', { all_proxy: 'socks5://a' }, 'a'],
  ['the lower-case form first', { HTTPS_PROXY: 'http://a', https_proxy: 'http://b' }, 'b'],
  ['the lower-case form of ALL_PROXY first', { ALL_PROXY: 'http://a', all_proxy: 'http://b' }, 'b'],
  ['HTTPS_PROXY before all_proxy', { all_proxy: 'http://a', HTTPS_PROXY: 'http://b' }, 'b'],
  ['an empty one as none', { HTTPS_PROXY: '' }, undefined],
  ['the next where one is empty', { https_proxy: '', HTTPS_PROXY: '', ALL_PROXY: 'http://a' }, 'a'],
  [
    'not HTTP_PROXY, which is for other traffic',
    { HTTP_PROXY: 'http://a', http_proxy: 'http://a' },
    undefined,
  ],
  ['NO_PROXY', { HTTPS_PROXY: 'http://a', NO_PROXY: '*' }, undefined],
  ['no_proxy', { HTTPS_PROXY: 'http://a', no_proxy: '*' }, undefined],
  ['no_proxy before NO_PROXY', { HTTPS_PROXY: 'http://a', no_proxy: 'other', NO_PROXY: '*' }, 'a'],
  ['NO_PROXY where no_proxy is empty', { HTTPS_PROXY: 'http://a', no_proxy: '', NO_PROXY: '*' }, undefined],
  ['NO_PROXY without a proxy', { NO_PROXY: 'other' }, undefined],
  ['no proxy that cannot be read where NO_PROXY holds', { HTTPS_PROXY: 'http://', NO_PROXY: '*' }, undefined],
]) {
  test(`of the environment it reads ${what}`, () => {
    assert.equal(hostOf(environment), expected)
  })
}

// NO_PROXY, the endpoint, its port, and whether the one is an exception for the other.
for (const [exceptions, to, port, expected] of [
  ['*', 'host.example.com', undefined, true],
  [' * ', 'host.example.com', undefined, true],
  ['other,*', 'host.example.com', undefined, true],
  ['*', '10.0.0.1', undefined, true],
  ['*:443', 'host.example.com', undefined, true],
  ['*:8443', 'host.example.com', undefined, false],
  ['', 'host.example.com', undefined, false],
  [' , ', 'host.example.com', undefined, false],
  ['.', 'host.example.com', undefined, false],
  ['*.', 'host.example.com', undefined, false],
  ['host.example.com', 'host.example.com', undefined, true],
  ['example.com', 'host.example.com', undefined, true],
  ['.example.com', 'host.example.com', undefined, true],
  ['*.example.com', 'host.example.com', undefined, true],
  ['.example.com', 'example.com', undefined, true],
  ['*.example.com', 'example.com', undefined, true],
  ['com', 'host.example.com', undefined, true],
  ['ample.com', 'host.example.com', undefined, false],
  ['host.example.com', 'example.com', undefined, false],
  ['example.com', 'example.com.evil.org', undefined, false],
  ['host.*.com', 'host.example.com', undefined, false],
  ['EXAMPLE.com', 'host.example.COM', undefined, true],
  ['example.com.', 'host.example.com', undefined, true],
  ['example.com', 'host.example.com.', undefined, true],
  ['a.org,example.com', 'host.example.com', undefined, true],
  ['a.org, example.com ,b.org', 'host.example.com', undefined, true],
  ['a.org example.com\tb.org', 'host.example.com', undefined, true],
  ['a.org,b.org', 'host.example.com', undefined, false],
  ['example.com:443', 'host.example.com', undefined, true],
  ['example.com:443', 'host.example.com', 443, true],
  ['example.com:8443', 'host.example.com', 8443, true],
  ['.example.com:8443', 'host.example.com', 8443, true],
  ['example.com:8443', 'host.example.com', undefined, false],
  ['example.com:443', 'host.example.com', 8443, false],
  ['example.com', 'host.example.com', 8443, true],
  ['localhost', 'localhost', undefined, true],
  ['10.0.0.1', '10.0.0.1', undefined, true],
  ['10.0.0.1', '10.0.0.2', undefined, false],
  ['10.0.0.1:443', '10.0.0.1', undefined, true],
  ['10.0.0.1:8443', '10.0.0.1', undefined, false],
  ['0.0.1', '10.0.0.1', undefined, false],
  ['.0.0.1', '10.0.0.1', undefined, false],
  ['10.0.0.0/8', '10.1.2.3', undefined, true],
  ['10.0.0.0/8', '11.1.2.3', undefined, false],
  ['10.1.2.3/8', '10.9.9.9', undefined, true],
  ['10.0.0.0/8:443', '10.1.2.3', undefined, true],
  ['10.0.0.0/8:8443', '10.1.2.3', undefined, false],
  ['0.0.0.0/0', '10.1.2.3', undefined, true],
  ['10.1.2.3/32', '10.1.2.3', undefined, true],
  ['10.0.0.0/33', '10.1.2.3', undefined, false],
  ['10.0.0.0/', '10.1.2.3', undefined, false],
  ['10.0.0.0/x', '10.1.2.3', undefined, false],
  ['10.0.0.0/8', 'host.example.com', undefined, false],
  ['example.com', '10.1.2.3', undefined, false],
  ['::1', '::1', undefined, true],
  ['[::1]', '::1', undefined, true],
  ['::1', '[::1]', undefined, true],
  ['0:0:0:0:0:0:0:1', '::1', undefined, true],
  ['[::1]:443', '::1', undefined, true],
  ['[::1]:8443', '::1', undefined, false],
  ['[::1]:8443', '::1', 8443, true],
  ['::2', '::1', undefined, false],
  ['FD00::/8', 'fd12::1', undefined, true],
  ['fd00::/8', 'fe80::1', undefined, false],
  ['fd00::/129', 'fd12::1', undefined, false],
  ['10.0.0.0/8', 'fd12::1', undefined, false],
  ['::/0', '10.0.0.1', undefined, false],
]) {
  const name = `NO_PROXY ${JSON.stringify(exceptions)} holds ${to}${port === undefined ? '' : `, port ${port}`}`
  test(`${name}: ${expected ? 'yes' : 'no'}`, () => {
    const host = hostOf({ HTTPS_PROXY: PROXY, NO_PROXY: exceptions }, to, port)
    assert.equal(host, expected ? undefined : 'proxy.example')
  })
}
