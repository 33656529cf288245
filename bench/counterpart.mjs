// The servers that clients are measured against: the sink in Rust, and mosquitto.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { executable } from './cargo.mjs'

/** Starts `sink` or `mosquitto`. */
export async function startCounterpart(name) {
  const directory = mkdtempSync(join(tmpdir(), 'bench-'))
  const sink = await startSink(directory)
  if (name === 'sink') return sink
  // Its certificates serve the other one as well.
  try {
    return await startMosquitto(directory)
  } finally {
    await sink.stop({ keep: true })
  }
}

async function startSink(directory) {
  const sink = await executable('bench-sink', 'bench-sink', 'bench-sink')
  // Node raises its own limit of open files, for as many connections as a workload has.
  const child = spawn('sh', ['-c', 'ulimit -n "$(ulimit -Hn)"; exec "$0" "$1"', sink, directory], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: child.stdout })
  const [line] = await once(lines, 'line')
  const { port, resumingPort, websocketPort, ca } = JSON.parse(line)
  let records = []
  lines.on('line', (text) => records.push(JSON.parse(text)))
  return {
    name: 'sink',
    host: 'localhost',
    port,
    resumingPort,
    websocketPort,
    ca,
    cpuMillis: () => cpuMillis(child.pid),
    /** What so many connections did, once they have ended. */
    async records(count) {
      for (let turn = 0; turn < 100 && records.length < count; turn++) await sleep(20)
      const taken = records
      records = []
      return taken
    },
    async stop({ keep = false } = {}) {
      child.stdin.end()
      await once(child, 'exit')
      if (!keep) rmSync(directory, { recursive: true })
    },
  }
}

async function startMosquitto(directory) {
  const port = await freePort()
  const configuration = join(directory, 'mosquitto.conf')
  writeFileSync(
    configuration,
    `listener ${port} localhost
certfile ${join(directory, 'server.pem')}
keyfile ${join(directory, 'server.key')}
allow_anonymous true
set_tcp_nodelay true
max_inflight_messages 0
max_queued_messages 0
persistence false
log_type error
user ${process.getuid?.() === 0 ? 'root' : ''}
`,
  )
  const child = spawn('mosquitto', ['-c', configuration], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` },
  })
  const exited = once(child, 'exit')
  process.on('exit', () => child.kill())
  for (let turn = 0; !(await accepts(port)); turn++) {
    if (turn === 100 || child.exitCode !== null) throw new Error('mosquitto does not start')
    await sleep(50)
  }
  return {
    name: 'mosquitto',
    host: 'localhost',
    port,
    ca: join(directory, 'ca.pem'),
    cpuMillis: () => cpuMillis(child.pid),
    async stop() {
      child.kill()
      await exited
      rmSync(directory, { recursive: true })
    },
  }
}

async function freePort() {
  const server = createServer().listen(0, 'localhost')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

function accepts(port) {
  return new Promise((resolve) => {
    const socket = connect(port, 'localhost')
    socket.on('connect', () => resolve(true))
    socket.on('error', () => resolve(false))
    socket.on('connect', () => socket.destroy())
  })
}

/** CPU time of a process so far; undefined where the system does not tell. */
function cpuMillis(pid) {
  if (process.platform !== 'linux') return undefined
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}
