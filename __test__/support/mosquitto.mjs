import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { createServerCredentials } from '../../local/dist/front-door/certificates.js'

// Debian keeps it where the path of ordinary users does not look.
const PATH = `${process.env.PATH}:/usr/sbin:/usr/local/sbin`
const INSTALL =
  'mosquitto is not installed: `apt-get install mosquitto` (Debian, Ubuntu), `brew install mosquitto` (macOS)'

// Where a broker is demanded, a test without one fails.
const demanded = process.env.CI === 'true' || process.env.REQUIRE_MOSQUITTO === '1'

/** For the options of a test: why it is skipped. */
export const skip = missing() && !demanded ? INSTALL : false

function missing() {
  return spawnSync('mosquitto', ['-h'], { env: { ...process.env, PATH } }).error !== undefined
}

/**
 * Starts a broker with TLS, over WebSocket on request. Resolves once it listens; `where` is what a client needs to come
 * here.
 */
export async function startMosquitto({ websocket = false } = {}) {
  if (missing()) throw new Error(INSTALL)
  const directory = await mkdtemp(join(tmpdir(), 'custom-authorizer-mosquitto-'))
  const { ca, cert, key } = createServerCredentials(['localhost'])
  const file = (name) => join(directory, name)
  await Promise.all([writeFile(file('ca'), ca), writeFile(file('cert'), cert), writeFile(file('key'), key)])
  for (let attempt = 1; ; attempt++) {
    const port = await freePort()
    const config = [
      `listener ${port} 127.0.0.1`,
      'user root',
      'allow_anonymous true',
      'set_tcp_nodelay true',
      'persistence false',
      'max_queued_messages 0',
      `cafile ${file('ca')}`,
      `certfile ${file('cert')}`,
      `keyfile ${file('key')}`,
      // Its WebSocket library wants IPv6 where it is not told otherwise, and mosquitto 2.0.11 does not start without
      // a listener of the other kind.
      ...(websocket ? ['protocol websockets', 'socket_domain ipv4', `listener 0 ${file('socket')}`] : []),
    ]
    await writeFile(file('conf'), config.join('\n'))
    const child = spawn('mosquitto', ['-c', file('conf')], {
      env: { ...process.env, PATH },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const exited = once(child, 'exit')
    const said = []
    const running = new Promise((resolve) => {
      createInterface(child.stderr).on('line', (line) => {
        said.push(line)
        if (line.endsWith(' running')) resolve(true)
      })
    })
    if (await Promise.race([running, exited.then(() => false)])) {
      return {
        ca,
        port,
        where: {
          endpoint: 'localhost',
          port,
          tls: { ca },
          ...(websocket && { transport: 'websocket' }),
        },
        async close() {
          child.kill()
          await exited
          await rm(directory, { recursive: true, force: true })
        },
      }
    }
    // The port may have been taken since it was free.
    if (attempt === 3) throw new Error(`mosquitto does not start:\n${said.join('\n')}`)
  }
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}
