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
