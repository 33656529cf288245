import { isUtf8 } from 'node:buffer'
import { UsageError, type Arguments } from './arguments.js'
import type { Flag } from './flags.js'

/** More than fits into a CONNECT packet. */
const MAX_BYTES = 65_536

/**
 * Reads the secrets that are given as `env:NAME` or as `-`, standard input, whose final line feed does not count.
 * A password that is no text stays bytes.
 *
 * @throws {UsageError} for a variable that is not set, for one and for standard input with nothing in it, and where two flags want standard input.
 */
export async function readSecrets(
  given: Arguments,
  env: NodeJS.ProcessEnv,
  stdin: () => AsyncIterable<Uint8Array>,
): Promise<ReadonlyMap<Flag, string | Uint8Array>> {
  const values = new Map<Flag, string | Uint8Array>(given)
  const secrets = [...given].filter(([flag]) => flag.secret === true)
  const fromStdin = secrets.filter(([, value]) => value === '-').map(([flag]) => flag)
  if (fromStdin.length > 1) {
    const names = fromStdin.map((flag) => `--${flag.name}`).join(' and ')
    throw new UsageError(
      `${names} both read standard input.`,
      'Only one flag can; use env:NAME for the other.',
    )
  }
  for (const [flag, value] of secrets) {
    if (value === '-') values.set(flag, await readStdin(flag, stdin()))
    else if (value.startsWith('env:')) values.set(flag, readVariable(flag, value.slice(4), env))
  }
  return values
}

function readVariable(flag: Flag, name: string, env: NodeJS.ProcessEnv): string {
  const value = env[name]
  if (value === undefined) {
    // The name stays out of the message: it may be a secret that happens to begin with "env:".
    throw new UsageError(
      `--${flag.name} names an environment variable that is not set.`,
      'env:NAME takes the value from the variable NAME; it has to be exported.',
    )
  }
  if (value === '') throw new UsageError(`--${flag.name} names an environment variable that is empty.`)
  return value
}

async function readStdin(flag: Flag, stdin: AsyncIterable<Uint8Array>): Promise<string | Uint8Array> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of stdin) {
    chunks.push(chunk)
    size += chunk.length
    if (size > MAX_BYTES)
      throw new UsageError(`--${flag.name}: standard input holds more than ${MAX_BYTES} bytes.`)
  }
  let bytes = Buffer.concat(chunks)
  if (bytes.at(-1) === 0x0a) bytes = bytes.subarray(0, bytes.at(-2) === 0x0d ? -2 : -1)
  if (bytes.length === 0) throw new UsageError(`--${flag.name}: standard input is empty.`)
  if (isUtf8(bytes)) return bytes.toString()
  if (flag.meaning === 'password') return bytes
  throw new UsageError(`--${flag.name}: standard input is not text in UTF-8.`)
}
