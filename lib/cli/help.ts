import { FLAGS, GROUPS, type Flag } from './flags.js'
import { USAGE } from './settings.js'
import { wrap } from './wrap.js'

const WIDTH = 80
const COLUMN = 32

/** The whole help: every flag of the table, in its group. */
export function helpText(): string {
  const groups = Object.entries(GROUPS).map(([group, title]) => {
    const flags = FLAGS.filter((flag) => flag.group === group)
    return [`${title}:`, ...flags.flatMap(describe)].join('\n')
  })
  return [
    USAGE,
    paragraph(
      'Connects to AWS IoT Core through a custom authorizer, with the flags and defaults of ' +
        "AWS's samples, and shows how far it got.",
    ),
    paragraph(
      '`custom-authorizer-connect diagnose` takes the same flags, goes the way of a connection once, says at which ' +
        'step it fails and why, and exits with 0 or 1.',
    ),
    ...groups,
    paragraph(
      'A <secret> is the value itself, or env:NAME for the value of an environment variable, or - for ' +
        'standard input (one flag only), since arguments show in a process list. ' +
        'An empty argument counts as absent; an empty variable or standard input is refused.',
    ),
    paragraph('Exit code: 0 done, 1 failed, 2 wrong arguments, 130 or 143 ended by Ctrl-C or SIGTERM.'),
    'Example:\n' +
      '  custom-authorizer-connect --endpoint abc123-ats.iot.eu-west-1.amazonaws.com \\\n' +
      '    --client_id thermostat-7 \\\n' +
      '    --custom_auth_authorizer_name UnsignedAuthorizer \\\n' +
      '    --custom_auth_username thermostat-7 \\\n' +
      '    --custom_auth_password env:DEVICE_PASSWORD',
  ].join('\n\n')
}

function describe(flag: Flag): string[] {
  const short = flag.short === undefined ? '    ' : `-${flag.short}, `
  const value = flag.value === undefined ? '' : ` <${flag.value}>`
  const head = `  ${short}--${flag.name}${value}`
  const text = flag.help + (flag.fallback === undefined ? '' : ` [${flag.fallback}]`)
  const lines = wrap(text, WIDTH - COLUMN)
  const indented = lines.map((line) => ' '.repeat(COLUMN) + line)
  if (head.length + 2 > COLUMN) return [head, ...indented]
  return [head.padEnd(COLUMN) + lines[0], ...indented.slice(1)]
}

function paragraph(text: string): string {
  return wrap(text, WIDTH).join('\n')
}
