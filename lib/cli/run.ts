import type { ConnectOptions, LogLevel } from '../../index.js'
import type { Arguments } from './arguments.js'
import { watchInterrupts } from './interrupt.js'
import { describeRecord } from './report.js'
import { readSecrets } from './secrets.js'
import { endpointOf, logLevelOf, settingsFrom, type Settings } from './settings.js'

export type Client = Pick<typeof import('../../index.js'), 'connectWithCustomAuthorizer'>

/** What a sample gets to work with. */
export interface Run extends Settings {
  /** Aborted when the run has to end early. */
  signal: AbortSignal
  /** Writes a line to standard output. */
  print(line: string): void
}

/** Runs the sample that the arguments select. Rejects with whatever stopped it. */
export async function run(given: Arguments): Promise<void> {
  endpointOf(given) // Before anyone waits for standard input.
  const settings = settingsFrom(await readSecrets(given, process.env, () => process.stdin))
  const interrupt = watchInterrupts()
  try {
    const client = require('../client.js') as Client
    const { signal } = interrupt
    const options = { ...settings.options, ...logging(logLevelOf(given)), signal }
    const print = (line: string) => void process.stdout.write(`${line}\n`)
    const context: Run = { ...settings, options, signal, print }
    if (settings.sample === 'pubsub') {
      const { pubsubSample } = require('./pubsub.js') as typeof import('./pubsub.js')
      await pubsubSample(client, context)
    } else {
      const { connectSample } = require('./connect.js') as typeof import('./connect.js')
      await connectSample(client, context)
    }
    signal.throwIfAborted()
  } finally {
    interrupt.release()
  }
}

function logging(logLevel: LogLevel): Pick<ConnectOptions, 'logLevel' | 'logger'> {
  if (logLevel === 'none') return {}
  return { logLevel, logger: (record) => void process.stderr.write(`${describeRecord(record)}\n`) }
}
