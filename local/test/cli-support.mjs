import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { connectAsync } from 'mqtt'

const CLI = fileURLToPath(new URL('../dist/cli/index.js', import.meta.url))

/** A folder with these files, gone with the test. */
export async function folder(t, files) {
  const path = await mkdtemp(join(tmpdir(), 'local-cli-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text)
  return { path, file: (name) => join(path, name) }
}

/** Runs the command to its end. */
export async function runCli(args, { env = {} } = {}) {
  const child = spawn(process.execPath, [CLI, ...args], { env: { ...process.env, ...env } })
  const out = collect(child)
  const [code] = await once(child, 'close')
  return { code, ...out }
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** Runs a line as a person would who has pasted it into a shell, in a clone of the repository. */
export async function paste(line, env = {}) {
  const child = spawn('sh', ['-c', line], { cwd: ROOT, env: { ...process.env, ...env } })
  const out = collect(child)
  const [code] = await once(child, 'close')
  return { code, ...out }
}

/** Starts the command on a free port, and stops it with the test. */
export async function startCli(t, args, { env = {} } = {}) {
  const child = spawn(process.execPath, [CLI, '--port', '0', ...args], {
    cwd: ROOT,
    env: { ...process.env, ...env },
  })
  const out = collect(child)
  const closed = once(child, 'close')
  t.after(async () => {
    child.kill('SIGTERM')
    await closed
  })
  const waiting = new Set()
  child.stdout.on('data', () => waiting.forEach((look) => look()))
  /** Resolves with the match once the output holds it. */
  const until = (pattern) =>
    new Promise((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(out.stdout)
        if (match === null) return
        waiting.delete(look)
        resolve(match)
      }
      waiting.add(look)
      look()
      void closed.then(() => reject(new Error(`it ended before ${pattern}:\n${out.stdout}\n${out.stderr}`)))
    })
  return { child, out, until, closed }
}

/** Connects MQTT.js to a stand-in that was started so; resolves with the client, or rejects as it does. */
export async function connectTo(t, cli, { clientId = 'device-1', username = 'device-1', ...options } = {}) {
  const port = Number((await cli.until(/(?:localhost:|"port":)(\d+)/))[1])
  const [, caFile] = await cli.until(/(?:certificate to trust: |"caFile":")([^\n"]+)/)
  const client = await connectAsync({
    protocol: 'mqtts',
    host: 'localhost',
    port,
    ca: await readFile(caFile),
    ALPNProtocols: ['mqtt'],
    protocolVersion: 5,
    reconnectPeriod: 0,
    clientId,
    username,
    ...options,
  })
  t.after(() => client.endAsync(true))
  return client
}

/** A module whose handler answers this. */
export const moduleThatAnswers = (answer) =>
  `export const handler = async (event) => (${JSON.stringify(answer)})\n`

function collect(child) {
  const out = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text) => (out.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text) => (out.stderr += text))
  return out
}
