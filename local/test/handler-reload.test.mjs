import assert from 'node:assert/strict'
import { rename, rm, symlink } from 'node:fs/promises'
import { test } from 'node:test'
import { ANSWER, answering, folder, principal, startModule, write } from './module-support.mjs'
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

test('a call that runs during a reload is answered by the code that it began with', async (t) => {
  const text = `import { existsSync } from 'node:fs'
    export const handler = async () => {
      console.log('called')
      while (!existsSync(new URL('go.txt', import.meta.url))) await new Promise(setImmediate)
      return { ...${ANSWER}, principalId: 'one' }
    }`
  const path = await folder(t, { 'a.mjs': text })
  const { endpoint, next } = await startModule(t, path('a.mjs'), { limits: { handlerTimeoutMs: 30_000 } })
  const called = next('handler-log')
  const answer = principal(endpoint)
  await called
  const reloaded = next('handler-reloaded')
  await write(path('a.mjs'), answering('two'))
  await reloaded
  await write(path('go.txt'), '')
  assert.deepEqual([await answer, await principal(endpoint)], ['one', 'two'])
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
