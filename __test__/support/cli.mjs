import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const CLI = fileURLToPath(new URL('../../dist/index.js', import.meta.url))
/** Fails where the client, and with it the addon, is loaded. */
const NO_CLIENT = fileURLToPath(new URL('./no-client.cjs', import.meta.url))

/** Without the proxies of whoever runs the tests. */
const ENVIRONMENT = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(https|all|no)_proxy$/i.test(name)),
)

/**
 * Starts the command line as a process of its own.
 *
 * `exited` resolves with its exit code and everything it wrote; `until(text)` when its stdout holds the text, and
 * rejects where the process ends before.
 */
export function startCli(args, { env = {}, input = '', withoutClient = false, nodeArgs = [] } = {}) {
  const node = withoutClient ? ['--require', NO_CLIENT, ...nodeArgs] : nodeArgs
  const child = spawn(process.execPath, [...node, CLI, ...args], { env: { ...ENVIRONMENT, ...env } })
  const out = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text) => (out.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text) => (out.stderr += text))
  // A process that does not read its standard input may be gone before the input is written.
  child.stdin.on('error', () => {})
  child.stdin.end(input)

  const exited = new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, ...out }))
  })
  const until = (text) =>
    new Promise((resolve, reject) => {
      const look = () => {
        if (!out.stdout.includes(text)) return
        child.stdout.off('data', look)
        resolve()
      }
      child.stdout.on('data', look)
      look()
      void exited.then(() => reject(new Error(`the process ended without ${text}: ${JSON.stringify(out)}`)))
    })
  return { child, exited, until }
}

/** Runs the command line to its end. */
export function cli(args, options) {
  return startCli(args, options).exited
}
