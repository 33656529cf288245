import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'

const read = (path) => readFile(new URL(`../${path}`, import.meta.url), 'utf8')
const all = (text, pattern) => [...text.matchAll(pattern)].map(([, code]) => code).toSorted()

const types = await read('index.d.ts')
const declared = all(types.slice(types.indexOf('export type ErrorCode')), /^ {2}\| '(ERR_\w+)'/gm)

test('the README explains exactly the codes that the types declare', async () => {
  assert.deepEqual(all(await read('README.md'), /^\| `(ERR_\w+)` \|/gm), declared)
})

test('the engine has exactly the codes that the types declare', async () => {
  assert.deepEqual(all(await read('engine/src/error.rs'), /= "(ERR_\w+)"/g), declared)
})

test('the README and the engine have exactly the stages that the types declare, in their order', async () => {
  const start = types.indexOf('export type Stage')
  const stages = [...types.slice(start, types.indexOf('/**', start)).matchAll(/^ {2}\| '(\w+)'/gm)].map(
    ([, stage]) => stage,
  )
  const [, listed] = /with `code`, `stage` \(([^)]*)\)/.exec(await read('README.md'))
  assert.deepEqual(listed.replaceAll('`', '').split(', '), stages)
  const engine = await read('engine/src/error.rs')
  const named = /impl Stage \{.*?\n\}/s.exec(engine)[0].matchAll(/=> "(\w+)"/g)
  assert.deepEqual(
    [...named].map(([, stage]) => stage),
    stages,
  )
})
