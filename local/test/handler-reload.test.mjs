import assert from 'node:assert/strict'
import { rename, rm, symlink } from 'node:fs/promises'
import { test } from 'node:test'
import {
  ANSWER,
  answering,
  countThreads,
  folder,
  holding,
  principal,
  startModule,
  write,
} from './module-support.mjs'
import { connectMqtt, ofType } from './support.mjs'

test('the next connection gets the code that was written', async (t) => {
  const path = await folder(t, { 'a.mjs': answering('one') })
  const { endpoint, next } = await startModule(t, path('a.mjs'))
  await connectMqtt(t, endpoint, { clientId: 'before' })
  const reloaded = next('handler-reloaded')
  await write(path('a.mjs'), answering('two'))
  const { authorizerName, files } = await reloaded
  await connectMqtt(t, endpoint, { clientId: 'after' })
  assert.deepEqual([authorizerName, files], ['Module', [path('a.mjs')]])
  assert.deepEqual(
    ofType(endpoint, 'connected').map(({ principalId }) => principalId),
    ['one', 'two'],
  )
})

test('a change to what an import imports reloads', async (t) => {
  const path = await folder(t, {
    'a.mjs': `import { name } from './lib/names.mjs'\nexport const handler = () => ({ ...${ANSWER}, principalId: name })`,
    'lib/names.mjs': `export { name } from './deep/name.mjs'`,
    'lib/deep/name.mjs': `export const name = 'one'`,
  })
  const { endpoint, next } = await startModule(t, path('a.mjs'))
  const reloaded = next('handler-reloaded')
  await write(path('lib/deep/name.mjs'), `export const name = 'two'`)
  await reloaded
  assert.equal(await principal(endpoint), 'two')
})

test('a change to what CommonJS requires reloads', async (t) => {
  const path = await folder(t, {
    'a.cjs': `const name = require('./name.cjs')\nexports.handler = () => ({ ...${ANSWER}, principalId: name })`,
    'name.cjs': `module.exports = 'one'`,
  })
  const { endpoint, next } = await startModule(t, path('a.cjs'))
  const reloaded = next('handler-reloaded')
  await write(path('name.cjs'), `module.exports = 'two'`)
  await reloaded
  assert.equal(await principal(endpoint), 'two')
})

test('a change in node_modules, or to what is no code, does not reload', async (t) => {
  const path = await folder(t, { 'a.mjs': answering('one'), 'node_modules/x/index.js': '' })
  const { endpoint, next } = await startModule(t, path('a.mjs'))
  const reloaded = next('handler-reloaded')
  await write(path('node_modules/x/index.js'), '1')
  await write(path('notes.txt'), '1')
  await write(path('a.mjs'), answering('two'))
  assert.deepEqual((await reloaded).files, [path('a.mjs')])
  assert.equal(ofType(endpoint, 'handler-reloaded').length, 1)
})

test('variables start anew after a reload', async (t) => {
  const text = `let calls = 0\nexport const handler = () => ({ ...${ANSWER}, principalId: 'call' + ++calls })`
  const path = await folder(t, { 'a.mjs': text })
  const { endpoint, next } = await startModule(t, path('a.mjs'))
  await principal(endpoint)
  const reloaded = next('handler-reloaded')
  await write(path('a.mjs'), `${text}\n`)
  await reloaded
  assert.equal(await principal(endpoint), 'call1')
})

test('a change that does not load leaves the code from before, and a warning says where it fails', async (t) => {
  const path = await folder(t, { 'a.mjs': answering('one') })
  const { endpoint, next } = await startModule(t, path('a.mjs'))
  const warned = next('warning')
  await write(path('a.mjs'), 'export const handler = () => {\n  const a = ;\n}\n')
  const { message, authorizerName } = await warned
  assert.equal(authorizerName, 'Module')
  assert.match(message, /cannot load .*a\.mjs: SyntaxError: Unexpected token ';'/)
  assert.match(message, /a\.mjs:2\n {2}const a = ;/)
  assert.match(message, /the code from before the change goes on/)
  assert.equal(await principal(endpoint), 'one')
})

test('a change that throws at load is told with the first lines of its stack', async (t) => {
  const path = await folder(t, { 'a.mjs': answering('one') })
  const { next } = await startModule(t, path('a.mjs'))
  const warned = next('warning')
  await write(path('a.mjs'), `\nthrow new Error('no database')\n`)
  assert.match((await warned).stack, /^Error: no database\n +at .*a\.mjs:2:7/)
})

test('a change that is mended is loaded', async (t) => {
  const path = await folder(t, { 'a.mjs': answering('one') })
  const { endpoint, next } = await startModule(t, path('a.mjs'))
  const warned = next('warning')
  await write(path('a.mjs'), 'export const other = 1')
  await warned
  const reloaded = next('handler-reloaded')
  await write(path('a.mjs'), answering('two'))
  await reloaded
  assert.equal(await principal(endpoint), 'two')
})

const PATIENT = { limits: { handlerTimeoutMs: 60_000 } }

test('a call that runs during a reload is answered by the code that it began with', async (t) => {
  const path = await folder(t, { 'a.mjs': holding('one') })
  const { endpoint, next } = await startModule(t, path('a.mjs'), PATIENT)
  const called = next('handler-log')
  const answer = principal(endpoint)
  await called
  const reloaded = next('handler-reloaded')
  await write(path('a.mjs'), answering('two'))
  await reloaded
  await write(path('go.txt'), '')
  assert.deepEqual([await answer, await principal(endpoint)], ['one', 'two'])
})

test('a thread that began to load before the change answers its own call and no other', async (t) => {
  const slow = `import { existsSync } from 'node:fs'
    const there = (name) => existsSync(new URL(name, import.meta.url))
    if (there('slow.txt')) console.log('loading')
    while (there('slow.txt') && !there('go.txt')) await new Promise((next) => setTimeout(next, 5))`
  const path = await folder(t, { 'a.mjs': `${slow}\n${holding('one').replace(/^import.*\n/, '')}` })
  const { endpoint, next } = await startModule(t, path('a.mjs'), PATIENT)
  await write(path('slow.txt'), '')
  const called = next('handler-log')
  const first = principal(endpoint)
  assert.equal((await called).text, 'called')
  const loading = next('handler-log')
  const second = principal(endpoint)
  assert.equal((await loading).text, 'loading')
  const reloaded = next('handler-reloaded')
  await write(path('a.mjs'), answering('two'))
  await reloaded
  await write(path('go.txt'), '')
  assert.deepEqual([await first, await second], ['one', 'one'])
  assert.deepEqual(await Promise.all([principal(endpoint), principal(endpoint)]), ['two', 'two'])
})

test('reloads while calls run do not add up to threads without end', async (t) => {
  const path = await folder(t, { 'a.mjs': holding('v0'), 'b.mjs': answering('b') })
  const threads = countThreads(t)
  const { endpoint, next } = await startModule(t, path('a.mjs'), PATIENT)
  // Sees the same changes, with a thread that is free: it tells when the other one has seen them.
  const witness = await startModule(t, path('b.mjs'))
  const answers = []
  const reload = async (version) => {
    const called = Array.from({ length: 8 }, () => next('handler-log'))
    answers.push(...called.map(() => principal(endpoint)))
    await Promise.all(called)
    const reloaded = next('handler-reloaded')
    await write(path('a.mjs'), holding(version))
    return { reloaded }
  }
  await (
    await reload('v1')
  ).reloaded
  // Both generations are busy in all their threads: the third waits until one has ended.
  const seen = witness.next('handler-reloaded')
  const { reloaded } = await reload('v2')
  await seen
  await write(path('go.txt'), '')
  await reloaded
  assert.deepEqual(await Promise.all(answers), [...Array(8).fill('v0'), ...Array(8).fill('v1')])
  assert.equal(await principal(endpoint), 'v2')
  assert.ok(threads.most <= 16 + 2, `${threads.most} threads`)
})

for (const [what, text] of [
  ['imports', `import rules from './rules.json' with { type: 'json' }\nconst { name } = rules`],
  [
    'requires',
    `import { createRequire } from 'node:module'
    const { name } = createRequire(import.meta.url)('./rules.json')`,
  ],
]) {
  test(`a change to JSON that the module ${what} reloads, also after one that was no JSON`, async (t) => {
    const path = await folder(t, {
      'a.mjs': `${text}\nexport const handler = () => ({ ...${ANSWER}, principalId: name })`,
      'rules.json': '{ "name": "one" }',
    })
    const { endpoint, next } = await startModule(t, path('a.mjs'))
    const warned = next('warning')
    await write(path('rules.json'), '{ "name": ')
    await warned
    const reloaded = next('handler-reloaded')
    await write(path('rules.json'), '{ "name": "two" }')
    await reloaded
    assert.equal(await principal(endpoint), 'two')
  })
}

test('JSON that a module imports for the first time during a call is watched from then on', async (t) => {
  const path = await folder(t, {
    'a.mjs': `export const handler = async () => {
      const { default: rules } = await import('./rules.json', { with: { type: 'json' } })
      return { ...${ANSWER}, principalId: rules.name }
    }`,
    'rules.json': '{ "name": "one" }',
  })
  const { endpoint, next } = await startModule(t, path('a.mjs'))
  assert.equal(await principal(endpoint), 'one')
  const reloaded = next('handler-reloaded')
  await write(path('rules.json'), '{ "name": "two" }')
  await reloaded
  assert.equal(await principal(endpoint), 'two')
})

test('JSON that a module writes beside itself does not reload it', async (t) => {
  const path = await folder(t, {
    'a.mjs': `import { writeFileSync } from 'node:fs'
      let calls = 0
      export const handler = () => {
        writeFileSync(new URL('cache.json', import.meta.url), '{}')
        return { ...${ANSWER}, principalId: 'call' + ++calls }
      }`,
  })
  const { endpoint, next } = await startModule(t, path('a.mjs'))
  assert.deepEqual([await principal(endpoint), await principal(endpoint)], ['call1', 'call2'])
  const reloaded = next('handler-reloaded')
  await write(path('a.mjs'), answering('two'))
  assert.deepEqual((await reloaded).files, [path('a.mjs')])
})

test('a change to the file behind a link reloads', async (t) => {
  const path = await folder(t, { 'src/a.mjs': answering('one'), 'other/notes.txt': '' })
  await symlink(path('src/a.mjs'), path('other/link.mjs'))
  const { endpoint, next } = await startModule(t, path('other/link.mjs'))
  const reloaded = next('handler-reloaded')
  await write(path('src/a.mjs'), answering('two'))
  await reloaded
  assert.equal(await principal(endpoint), 'two')
})

test('a folder that is made later is watched as well', async (t) => {
  const importing = `import { name } from './lib/name.mjs'\nexport const handler = () => ({ ...${ANSWER}, principalId: name })`
  const path = await folder(t, { 'a.mjs': answering('one') })
  const staging = await folder(t, { 'lib/name.mjs': `export const name = 'two'` })
  const { endpoint, next } = await startModule(t, path('a.mjs'))
  const warned = next('warning')
  await write(path('a.mjs'), importing)
  await warned
  const arrived = next('handler-reloaded')
  await rename(staging('lib'), path('lib'))
  assert.deepEqual((await arrived).files, [path('lib/name.mjs')])
  const changed = next('handler-reloaded')
  await write(path('lib/name.mjs'), `export const name = 'three'`)
  await changed
  assert.equal(await principal(endpoint), 'three')
})

test('a folder that is deleted and made again is watched as well', async (t) => {
  const importing = `import { name } from './lib/name.mjs'\nexport const handler = () => ({ ...${ANSWER}, principalId: name })`
  const path = await folder(t, { 'a.mjs': importing, 'lib/name.mjs': `export const name = 'one'` })
  const staging = await folder(t, { 'lib/name.mjs': `export const name = 'two'` })
  const { endpoint, next } = await startModule(t, path('a.mjs'))
  const warned = next('warning')
  await rm(path('lib'), { recursive: true })
  await warned
  const arrived = next('handler-reloaded')
  await rename(staging('lib'), path('lib'))
  await arrived
  const changed = next('handler-reloaded')
  await write(path('lib/name.mjs'), `export const name = 'three'`)
  await changed
  assert.equal(await principal(endpoint), 'three')
})
