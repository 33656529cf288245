#!/usr/bin/env node
// The command line: mirrors AWS's custom authorizer samples. `--help` tells all of it.
import { UsageError, asksFor, asksForJson, parseArguments } from './cli/arguments.js'
import { Interrupted } from './cli/interrupt.js'
import { print, printError } from './cli/output.js'
import { describeFailure } from './cli/report.js'
import { run } from './cli/run.js'
import { logLevelOf, sampleOf, type Values } from './cli/settings.js'

async function main(argv: readonly string[]): Promise<number> {
  let given: Values = new Map()
  const told = new Set<string>()
  const command = argv[0] === 'diagnose' ? argv[0] : undefined
  try {
    if (asksFor('help', argv)) {
      const { helpText } = await import('./cli/help.js')
      print(helpText())
    } else if (asksFor('version', argv)) {
      const { version } = require('../package.json') as { version: string }
      print(version)
    } else {
      const parsed = parseArguments(command === undefined ? argv : argv.slice(1), command)
      given = parsed
      if (command === 'diagnose') {
        const { diagnoseCommand } = await import('./cli/diagnose.js')
        return await diagnoseCommand(parsed)
      }
      await run(parsed, told)
    }
    return 0
  } catch (error) {
    if (error instanceof Interrupted) {
      if (error.by !== 'SIGPIPE') printError(error.message)
      return error.exitCode
    }
    const isUsage = isAboutArguments(error)
    if (command === 'diagnose' && error instanceof Error && asksForJson(argv)) {
      const { failureDocument } = await import('./cli/diagnose.js')
      print(failureDocument(error))
      return isUsage ? 2 : 1
    }
    printError(describeFailure(error, sampleOf(given), told))
    if (isUsage) return 2
    const level = logLevelOf(given)
    if (error instanceof Error && (level === 'debug' || level === 'trace')) printError(String(error.stack))
    return 1
  }
}

/** Also the client's own refusal of one, such as an endpoint that is a URL. */
function isAboutArguments(error: unknown): boolean {
  return (
    error instanceof UsageError || (error instanceof Error && 'stage' in error && error.stage === 'options')
  )
}

void main(process.argv.slice(2)).then((code) => {
  // Not process.exit: what was printed has to reach its reader first.
  process.exitCode = code
})
