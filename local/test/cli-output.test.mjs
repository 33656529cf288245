import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { Output } from '../dist/cli/output.js'

/** Reads nothing until `resume` is called, and everything from then on. */
class SlowReader extends Writable {
  read = []
  #waiting

  _write(chunk, _encoding, done) {
    this.read.push(chunk.toString())
    if (this.#waiting === undefined) this.#waiting = done
    else done()
  }

  async resume() {
    const drained = new Promise((resolve) => this.once('drain', resolve))
    this.#waiting()
    await drained
  }
}

test('a reader that is slow costs entries and not memory, and is told how many', async () => {
  const reader = new SlowReader()
  const output = new Output(reader, (count) => `${count} left out\n`)
  const entry = `${'x'.repeat(1024 * 1024 - 1)}\n`
  for (let n = 0; n < 100; n++) output.write(entry)
  assert.ok(reader.writableLength < 66 * 1024 * 1024)
  await reader.resume()
  output.write('next\n')
  const kept = reader.read.filter((text) => text === entry).length
  assert.ok(kept >= 64)
  assert.deepEqual(reader.read.slice(kept), [`${100 - kept} left out\n`, 'next\n'])
})
