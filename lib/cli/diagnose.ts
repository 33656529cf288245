import type { DiagnoseOptions, Diagnosis, DiagnosisStep, MqttError } from '../../index.js'
import { readFileSync } from 'node:fs'
import { UsageError, type Arguments } from './arguments.js'
import type { Meaning, Sample } from './flags.js'
import { watchInterrupts } from './interrupt.js'
import { print } from './output.js'
import { describeWarning, hintLines, oneLine, withFlagNames } from './report.js'
import { readSecrets } from './secrets.js'
import { endpointOf, settingsFrom } from './settings.js'

/** Runs `diagnose` and prints what it sees: as it goes for people, at the end for machines. Resolves with the exit code. */
export async function diagnoseCommand(given: Arguments): Promise<number> {
  endpointOf(given) // Before anyone waits for standard input.
  const values = await readSecrets(given, process.env, () => process.stdin)
  const text = (meaning: Meaning): string | undefined => {
    for (const [flag, value] of given) if (flag.meaning === meaning && value !== '') return value
    return undefined
  }
  // Here the topic is a probe's, and selects none of the samples.
  const { options, sample } = settingsFrom(
    new Map([...values].filter(([{ meaning }]) => meaning !== 'topic')),
  )
  if (text('takeOver') === 'true' && text('clientId') === undefined) {
    throw new UsageError('--take_over needs --client_id.', 'It allows to throw out whoever uses that id now.')
  }
  if (text('probePublish') === 'true' && text('topic') === undefined) {
    throw new UsageError(
      '--probe_publish needs --topic.',
      'Subscribers and rules get the message: choose one where it does no harm.',
    )
  }
  if (text('takeOver') === 'true' && text('mqttVersion') === undefined) {
    throw new UsageError(
      '--take_over needs --mqtt_version.',
      'A session of one version of MQTT ends where the other connects: give the one that the device uses, 3 or 5.',
    )
  }
  const json = text('json') === 'true'
  const topic = text('topic')
  const publicKey = text('publicKey')
  const interrupt = watchInterrupts()
  const diagnosis: DiagnoseOptions = {
    ...options,
    signal: interrupt.signal,
    takeOver: text('takeOver') === 'true',
    probePublish: text('probePublish') === 'true',
    ...(topic !== undefined && { topic }),
    ...(publicKey !== undefined && { publicKey: readKey(publicKey) }),
    ...(!json && { onStep: (step) => print(describeStep(step, sample)) }),
  }
  const { diagnose } = await import('../diagnose.js')
  let result: Diagnosis
  try {
    // The samples' random client id is nobody's: no session is in danger.
    result = await diagnose(diagnosis, text('clientId') === undefined)
  } finally {
    interrupt.release()
  }
  print(json ? document(result) : describeOutcome(result, sample))
  return result.ok ? 0 : 1
}

/** What `--json` prints where there is no diagnosis: for wrong arguments, say. */
export function failureDocument(given: Error): string {
  const {
    message,
    hint = '',
    code: ownCode,
    stage: ownStage,
  } = given as Error & Partial<Omit<MqttError, 'name'>>
  const usage = given instanceof UsageError
  const code = ownCode ?? (usage ? 'ERR_INVALID_OPTION' : 'ERR_INTERNAL')
  const stage = ownStage ?? (usage ? 'options' : 'operation')
  const error = { code, stage, message, hint, retryable: false }
  return document({ ok: false, verdict: message, next: hint, commands: [], steps: [], warnings: [], error })
}

const MARKS: Readonly<Record<DiagnosisStep['outcome'], string>> = {
  passed: 'ok',
  failed: 'FAILED',
  skipped: 'skipped',
}
const INDENT = ' '.repeat(20)

function describeStep(step: DiagnosisStep, sample: Sample): string {
  const { name, outcome, durationMs, seen, error } = step
  const said = [...seen, ...(error === undefined ? [] : [`${error.code}: ${error.message}`])]
  const lines = said.map((line) => oneLine(withFlagNames(line, sample)))
  if (error?.reasonString !== undefined) lines.push(`the server says: ${oneLine(error.reasonString)}`)
  const time = durationMs === 0 ? '' : ` (${durationMs} ms)`
  const [first = '', ...more] = lines
  const head = `${MARKS[outcome].padEnd(8)}${name.padEnd(12)}${first}${time}`
  return [head, ...more.map((line) => INDENT + line)].join('\n')
}

function describeOutcome({ verdict, next, commands, warnings }: Diagnosis, sample: Sample): string {
  const lines = warnings.map((warning) => describeWarning(warning, sample))
  lines.push('', `Verdict: ${oneLine(withFlagNames(verdict, sample))}`)
  if (next !== '') lines.push(...hintLines(withFlagNames(next, sample)))
  if (commands.length > 0) {
    lines.push(
      '',
      "To find out more on AWS's side (test-invoke-authorizer checks neither ALPN, SNI nor iot:Connect),",
      'with what was given in variables, $DEVICE_PASSWORD and the like:',
      ...commands.map((command) => `  ${oneLine(command)}`),
    )
  }
  return lines.join('\n')
}

const document = (diagnosis: object): string => JSON.stringify(diagnosis, errorsToo, 2)

/** An error's message is no member that JSON would show. */
function errorsToo(_name: string, value: unknown): unknown {
  if (!(value instanceof Error)) return value
  const { code, stage, message, hint, retryable, reasonCode, reasonString } = value as MqttError
  return { code, stage, message, hint, retryable, reasonCode, reasonString }
}

function readKey(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new UsageError(
      `--public_key: ${JSON.stringify(path)} cannot be read (${code}).`,
      "It is the PEM file of the authorizer's public key.",
    )
  }
}
