import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

// Debian keeps some of them where the path of ordinary users does not look.
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/usr/local/sbin` }
const INSTALL =
  'a proxy is not installed: `apt-get install tinyproxy-bin dante-server microsocks` (Debian, Ubuntu)'

// Where proxies are demanded, a test without one fails.
const demanded = process.env.CI === 'true' || process.env.REQUIRE_PROXIES === '1'

/** For the options of a test: why it is skipped. */
export const skip = missing() && !demanded ? INSTALL : false

function missing() {
  const there = (command, flag) => spawnSync(command, [flag], { env }).error === undefined
  return !(there('tinyproxy', '-v') && there('danted', '-v') && there('microsocks', '-h'))
}

/** HTTP CONNECT, to this port alone; with a `login` it demands that. */
export function startTinyproxy({ target, login }) {
  return start('http', login, {
    command: 'tinyproxy',
    args: (file) => ['-d', '-c', file],
    config: (port) => [
      `Port ${port}`,
      'Listen 127.0.0.1',
      `ConnectPort ${target}`,
      'LogLevel Connect',
      ...(login === undefined ? [] : [`BasicAuth ${login.username} ${login.password}`]),
    ],
  })
}

/** SOCKS 5 without a login. */
export function startDanted() {
  return start('socks5', undefined, {
    command: 'danted',
    args: (file) => ['-f', file, '-p', `${file}.pid`],
    config: (port) => [
      'logoutput: stderr',
      `internal: 127.0.0.1 port = ${port}`,
      'external: lo',
      'clientmethod: none',
      'socksmethod: none',
      ...(process.getuid() === 0 ? ['user.privileged: root', 'user.unprivileged: nobody'] : []),
      'client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }',
      'socks pass { from: 127.0.0.0/8 to: 0.0.0.0/0 log: connect }',
    ],
  })
}

/** SOCKS 5 with a login. */
export function startMicrosocks({ login }) {
  return start('socks5', login, {
    command: 'microsocks',
    args: (_file, port) => `-i 127.0.0.1 -p ${port} -u ${login.username} -P ${login.password}`.split(' '),
    config: () => [],
  })
}

/**
 * Resolves once the proxy takes connections. `urlFor(login)` is what a client is told, by default with the login that
 * it demands; `said(text)` resolves once it has written a line with this text.
 */
async function start(scheme, login, { command, args, config }) {
  if (missing()) throw new Error(INSTALL)
  const directory = await mkdtemp(join(tmpdir(), 'custom-authorizer-proxy-'))
  const file = join(directory, 'conf')
  for (let attempt = 1; ; attempt++) {
    const port = await freePort()
    await writeFile(file, `${config(port).join('\n')}\n`)
    // A group of its own, since danted's children serve their connections to the end without it.
    const child = spawn(command, args(file, port), { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    const kill = (signal = 'SIGKILL') => {
      try {
        process.kill(-child.pid, signal)
      } catch {
        // All of them are gone.
      }
    }
    const atExit = () => kill()
    process.once('exit', atExit)
    // The children hold the pipes too: they close when the last of them is gone.
    const gone = once(child, 'close')
    const log = []
    const look = new Set()
    for (const output of [child.stdout, child.stderr]) {
      createInterface(output).on('line', (line) => {
        log.push(line)
        for (const check of look) check()
      })
    }
    // Not all of them say when they listen.
    if (await listens(port, child)) {
      return {
        port,
        urlFor: (given = login) =>
          `${scheme}://${given === undefined ? '' : `${given.username}:${given.password}@`}127.0.0.1:${port}`,
        said: (text) =>
          new Promise((resolve, reject) => {
            const check = () => {
              const line = log.find((one) => one.includes(text))
              if (line === undefined) return
              look.delete(check)
              resolve(line)
            }
            look.add(check)
            check()
            void gone.then(() => reject(new Error(`${command} ended without ${text}:\n${log.join('\n')}`)))
          }),
        async close() {
          kill('SIGTERM')
          await gone
          process.off('exit', atExit)
          await rm(directory, { recursive: true, force: true })
        },
      }
    }
    // The port may have been taken since it was free.
    kill()
    await gone
    process.off('exit', atExit)
    if (attempt === 3) throw new Error(`${command} does not start:\n${log.join('\n')}`)
  }
}

/** Whether the process takes connections; false once it has ended. */
async function listens(port, child) {
  while (child.exitCode === null && child.signalCode === null) {
    const socket = connect(port, '127.0.0.1')
    const open = await new Promise((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    })
    socket.destroy()
    if (open) return child.exitCode === null
  }
  return false
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}
