import type { ConnectOptions, LogLevel, LogRecord } from '../../index.js'
import type { Arguments } from './arguments.js'
import { connectSample } from './connect.js'
import type { Sample } from './flags.js'
import { watchInterrupts } from './interrupt.js'
import { print, printError } from './output.js'
import { describeRecord, describeWarning } from './report.js'
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

/** Runs the sample that the arguments select. Rejects with whatever stopped it. `told` gets the warnings that it shows. */
export async function run(given: Arguments, told: Set<string>): Promise<void> {
  endpointOf(given) // Before anyone waits for standard input.
  const settings = settingsFrom(await readSecrets(given, process.env, () => process.stdin))
  const interrupt = watchInterrupts()
  try {
    const client = await import('../client.js')
    const { signal } = interrupt
    const options = { ...settings.options, ...logging(logLevelOf(given), settings.sample, told), signal }
    const context: Run = { ...settings, options, signal, print }
    if (settings.sample === 'pubsub') {
      const { pubsubSample } = await import('./pubsub.js')
      await pubsubSample(client, context)
    } else {
      await connectSample(client, context)
    }
    signal.throwIfAborted()
  } finally {
    interrupt.release()
  }
}

/** Without a log there are still warnings about what was given: they are for people. */
function logging(
  logLevel: LogLevel,
  sample: Sample,
  told: Set<string>,
): Pick<ConnectOptions, 'logLevel' | 'logger'> {
  const logger = (record: LogRecord) => {
    if (record.level === 'warn') told.add(record.message)
    const line =
      logLevel === 'none' ? describeWarning(record.message, sample) : describeRecord(record, sample)
    printError(line)
  }
  return { logLevel, logger }
}
