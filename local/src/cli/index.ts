#!/usr/bin/env node
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { startLocalEndpoint, type LocalEndpointOptions } from '../endpoint'
import { parseArguments } from './arguments'
import { banner } from './banner'
import { readConfig } from './config'
import { HELP, USAGE } from './help'
import { LiveLog } from './live-log'
import { createPaint } from './paint'
import { UsageError } from './usage-error'

const DEFAULT_PORT = 8443

void main(process.argv.slice(2)).catch((error: unknown) => {
  const { message } = error as Error
  process.stderr.write(`${message}\n`)
  if (error instanceof UsageError) process.stderr.write(`${error.hint}\n`)
  process.exitCode = error instanceof UsageError ? 2 : 1
})

async function main(argv: readonly string[]): Promise<void> {
  const given = parseArguments(argv)
  if (given.help) return void process.stdout.write(HELP)
  if (given.version) return void process.stdout.write(`${version()}\n`)

  const paint = createPaint(given.color, process.stdout.isTTY === true, process.env)
  const log = new LiveLog({
    json: given.json,
    redact: given.redact,
    paint,
    write: (text) => void process.stdout.write(text),
  })
  const config = given.config === undefined ? {} : await readConfig(given.config)
  const options: LocalEndpointOptions = {
    port: DEFAULT_PORT,
    profile: 'friendly',
    ...config,
    ...given.options,
    authorizers: { ...config.authorizers, ...given.options.authorizers },
    log: (event) => {
      log.record(event)
      config.log?.(event)
    },
  }
  if (Object.keys(options.authorizers).length === 0) {
    throw new UsageError('No authorizer is given.', `${USAGE}\nRun with --help to see every flag.`)
  }
  const stopped = stopSignal()
  const endpoint = await startLocalEndpoint(options).catch((error: NodeJS.ErrnoException) => {
    throw explain(error, options)
  })
  try {
    log.watch(endpoint.invocations)
    const caFile = given.caFile ?? endpoint.caFile
    if (given.caFile !== undefined) await writeFile(given.caFile, endpoint.ca)
    if (!given.json) process.stdout.write(banner(endpoint, options, caFile, paint))
    else process.stdout.write(`${JSON.stringify({ type: 'listening', port: endpoint.port, caFile })}\n`)
    await stopped
  } finally {
    await endpoint.close()
  }
}

/** Resolves when it is to end: Ctrl-C, SIGTERM, or a reader of its output that has gone. A second signal ends it at once. */
async function stopSignal(): Promise<void> {
  const gone = new Promise<void>((resolve, reject) => {
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') resolve()
      else reject(error)
    })
  })
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM'), gone])
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
}

/** Starting fails for what people can mend: it says what to do next. */
function explain(error: NodeJS.ErrnoException, { port, host = '127.0.0.1' }: LocalEndpointOptions): Error {
  if (error.code === 'EADDRINUSE') {
    return new Error(
      `Port ${port} of ${host} is in use already. Give another one with --port; 0 takes a free one.`,
    )
  }
  if (error.code === 'EACCES') {
    return new Error(`Port ${port} of ${host} is not for this user. Give one above 1023 with --port.`)
  }
  if (error.code === 'EADDRNOTAVAIL') return new Error(`This machine has no address ${host}: correct --host.`)
  return error
}

function version(): string {
  const { version: own } = JSON.parse(readFileSync(join(__dirname, '../../package.json'), 'utf8')) as {
    version: string
  }
  return own
}
