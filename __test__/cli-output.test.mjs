import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { afterEach, mock, test } from 'node:test'

const require = createRequire(import.meta.url)
const fs = require('node:fs')
const OUTPUT = require.resolve('../build/cli/output.js')

afterEach(() => mock.restoreAll())

/** The module as a process has it at its start, and what it wrote where. `write` stands in for the descriptor. */
function start(write) {
  delete require.cache[OUTPUT]
  const written = []
  const stream = (name) => {
    mock.method(process[name], 'on', () => process[name])
    mock.method(process[name], 'write', (chunk) => written.push([`the stream ${name}`, String(chunk)]) > 0)
  }
  const output = require(OUTPUT)
  mock.method(fs, 'writeSync', (descriptor, bytes) => {
    const taken = write(descriptor, bytes)
    written.push([descriptor, String(bytes.subarray(0, taken))])
    return taken
  })
  stream('stdout')
  stream('stderr')
  return { output, written }
}

function failing(code) {
  return () => {
    throw Object.assign(new Error(code), { code })
  }
}

test('a descriptor that takes a part of a line gets the rest next', () => {
  const { output, written } = start((_descriptor, bytes) => Math.min(bytes.length, 4))
  output.print('in parts')
  mock.restoreAll()
  assert.deepEqual(written, [
    [1, 'in p'],
    [1, 'arts'],
    [1, '\n'],
  ])
})

test('a pipe that is full and does not block gets the rest, and what follows, through its stream', () => {
  let room = 4
  const { output, written } = start((_descriptor, bytes) => {
    if (room === 0) failing('EAGAIN')()
    const taken = Math.min(bytes.length, room)
    room -= taken
    return taken
  })
  output.printError('one')
  output.printError('two')
  output.printError('three')
  mock.restoreAll()
  assert.deepEqual(written, [
    [2, 'one\n'],
    ['the stream stderr', 'two\n'],
    ['the stream stderr', 'three\n'],
  ])
})

test('a reader of standard output that went away is told of, and is no error', () => {
  const { output } = start(failing('EPIPE'))
  const told = mock.fn()
  output.onBrokenPipe(told)
  output.print('to nobody')
  output.onBrokenPipe(undefined)
  output.print('to nobody')
  mock.restoreAll()
  assert.equal(told.mock.callCount(), 1)
})

test('a reader of standard error that went away ends nothing', () => {
  const { output } = start(failing('EPIPE'))
  const told = mock.fn()
  output.onBrokenPipe(told)
  output.printError('to nobody')
  mock.restoreAll()
  assert.equal(told.mock.callCount(), 0)
})
