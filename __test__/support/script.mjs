import { spawn } from 'node:child_process'

const CLIENT = new URL('../../dist/client.js', import.meta.url)

/** Without the proxies and authorities of whoever runs the tests. */
const ENVIRONMENT = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => !/^((https|all|no)_proxy|ssl_cert_(file|dir)|node_extra_ca_certs|sslkeylogfile)$/i.test(name),
  ),
)

/**
 * Runs an ES module as a process of its own; it has `connectWithCustomAuthorizer` and the `input`.
 *
 * `exited` resolves with exit code, signal and everything it wrote; `until(text)` when its stdout holds the text, and
 * rejects where the process ends before.
 */
export function runScript(source, input, nodeArgs = [], env = {}) {
  const module = [
    `import { connectWithCustomAuthorizer } from ${JSON.stringify(CLIENT.href)}`,
    `const input = ${JSON.stringify(input)}`,
    source,
  ].join('\n')
  const child = spawn(process.execPath, [...nodeArgs, '--input-type=module', '--eval', module], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...ENVIRONMENT, ...env },
  })
  const out = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text) => (out.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text) => (out.stderr += text))
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
