import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { watchInterrupts } from '../build/cli/interrupt.js'

test('the first signal aborts, the second ends the process at once', (t) => {
  const exit = mock.method(process, 'exit', () => {})
  t.after(() => exit.mock.restore())
  const interrupt = watchInterrupts()
  t.after(() => interrupt.release())

  process.emit('SIGINT', 'SIGINT')
  assert.equal(interrupt.signal.reason.exitCode, 130)
  assert.equal(exit.mock.callCount(), 0)
  process.emit('SIGINT', 'SIGINT')
  assert.deepEqual(exit.mock.calls[0].arguments, [130])
})

test('once released nothing listens any more', () => {
  const before = ['SIGINT', 'SIGTERM'].map((name) => process.listenerCount(name))
  watchInterrupts().release()
  assert.deepEqual(
    ['SIGINT', 'SIGTERM'].map((name) => process.listenerCount(name)),
    before,
  )
})
