import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { FLAGS } from '../build/cli/flags.js'
import { cli } from './support/cli.mjs'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))

test('--help shows every flag in at most 80 columns, on stdout, and loads no addon', async () => {
  const { code, stdout, stderr } = await cli(['--help'], { withoutClient: true })
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
  for (const { name, short } of FLAGS) {
    assert.match(stdout, new RegExp(`^  ${short ? `-${short}, ` : '    '}--${name}( |$)`, 'm'))
  }
  for (const line of stdout.split('\n')) assert.ok(line.length <= 80, line)
})

test('-h helps however wrong the rest is', async () => {
  const { code, stdout } = await cli(['--nonsense', '-h'], { withoutClient: true })
  assert.equal(code, 0)
  assert.match(stdout, /^Usage: /)
})

test('--version shows the version of the package', async () => {
  const { code, stdout, stderr } = await cli(['--version'], { withoutClient: true })
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: `${version}\n`, stderr: '' })
})
