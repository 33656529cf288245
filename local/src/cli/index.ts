#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { startLocalEndpoint, type LocalEndpoint, type LocalEndpointOptions } from '../endpoint'
import { parseArguments, type Arguments } from './arguments'
import { banner } from './banner'
import { readConfig } from './config'
import { explainFailure } from './failure'
import { HELP, USAGE } from './help'
import { LiveLog } from './live-log'
import { Output } from './output'
import { createPaint } from './paint'
import { jsonLine, printable } from './printable'
import { UsageError } from './usage-error'

const DEFAULT_PORT = 8443

void main(process.argv.slice(2)).catch((error: unknown) => {
  const { message } = error as Error
  const lines = error instanceof UsageError ? [message, error.hint] : [message]
  process.exitCode = error instanceof UsageError ? 2 : 1
  // What the config file may have begun, a timer or a connection of its own, must not keep this alive.
  process.stderr.write(`${lines.join('\n').split('\n').map(printable).join('\n')}\n`, () => process.exit())
})

async function main(argv: readonly string[]): Promise<void> {
  const given = parseArguments(argv)
  if (given.help) return void process.stdout.write(HELP)
  if (given.version) return void process.stdout.write(`${version()}\n`)

  const paint = createPaint(given.color, process.stdout.isTTY === true, process.env)
  const { json, redact, quiet } = given
  const output = new Output(process.stdout, (count) => describeGap(count, json))
  const log = new LiveLog({ json, redact, quiet, paint, write: (text) => output.write(text) })
  const options = await mergeOptions(given, log)
  const stopped = stopSignal()
  process.on('uncaughtException', outlive)
  const endpoint = await startLocalEndpoint(options).catch((error: NodeJS.ErrnoException) => {
    log.open()
    throw explainFailure(error, options, given.config)
  })
  try {
    const caFile = await placeCaFile(given, endpoint)
    const { assumedUnsigned } = given
    if (json) log.open({ type: 'listening', time: Date.now(), port: endpoint.port, caFile, assumedUnsigned })
    else process.stdout.write(banner({ endpoint, options, assumedUnsigned, caFile }, paint))
    await stopped
    if (!json) process.stdout.write('Closing; Ctrl-C again ends it at once.\n')
  } finally {
    await endpoint.close()
  }
}

function describeGap(count: number, json: boolean): string {
  const message = `${count} entries are left out here: what reads this output is too slow for it`
  return `${json ? jsonLine({ type: 'warning', time: Date.now(), message }) : message}\n`
}

/**
 * A function of the config file runs in this process; what it forgets to catch, a rejection or an error that it throws
 * late, is no reason to end. Where the start fails, that is told by its own rejection.
 */
function outlive(error: unknown): void {
  const shown = error instanceof Error ? (error.stack ?? error.message) : String(error)
  const lines = ['Nothing caught this error; the server goes on:', ...shown.split('\n')]
  process.stderr.write(`${lines.map(printable).join('\n')}\n`)
}

/** Flags win over the config file; of authorizers each by its name. */
async function mergeOptions(given: Arguments, log: LiveLog): Promise<LocalEndpointOptions> {
  const config = given.config === undefined ? {} : await readConfig(given.config)
  const authorizers = { ...config.authorizers, ...given.options.authorizers }
  const names = Object.keys(authorizers)
  if (names.length === 0) {
    throw new UsageError('No authorizer is given.', `${USAGE}\nRun with --help to see every flag.`)
  }
  const wanted = given.options.defaultAuthorizer
  if (wanted !== undefined && !names.includes(wanted)) {
    throw new UsageError(
      `--default-authorizer ${wanted}: there is no such authorizer.`,
      `Known are: ${names.join(', ')}.`,
    )
  }
  return {
    port: DEFAULT_PORT,
    profile: 'friendly',
    ...config,
    ...given.options,
    limits: { ...config.limits, ...given.options.limits },
    authorizers,
    log: (event) => {
      log.event(event)
      config.log?.(event)
    },
    onInvocation: (invocation) => {
      log.invocation(invocation)
      config.onInvocation?.(invocation)
    },
  }
}

/** Where the certificate authority's certificate lies. A file that was asked for stays when all ends. */
async function placeCaFile({ caFile }: Arguments, endpoint: LocalEndpoint): Promise<string> {
  if (caFile === undefined) return endpoint.caFile
  await writeFile(caFile, endpoint.ca).catch((error: Error) => {
    throw new Error(`--ca-file ${caFile} cannot be written: ${error.message}. Give a path that can.`)
  })
  return resolve(caFile)
}

/** Resolves when it is to end: Ctrl-C, SIGTERM, or a reader of its output that has gone. A second signal ends it at once. */
function stopSignal(): Promise<void> {
  return new Promise((end, fail) => {
    let ending = false
    const stop = (): void => {
      ending = true
      end()
    }
    const onSignal = (code: number): void => (ending ? process.exit(code) : stop())
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') stop()
      else fail(error)
    })
    process.stderr.on('error', () => undefined)
    process.on('SIGINT', () => onSignal(130))
    process.on('SIGTERM', () => onSignal(143))
  })
}

function version(): string {
  const { version: own } = JSON.parse(readFileSync(join(__dirname, '../../package.json'), 'utf8')) as {
    version: string
  }
  return own
}
