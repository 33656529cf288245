// One run of one workload by one client, in a process of its own. Gives raw figures; `values` makes measures of them.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { join } from 'node:path'
import { installed } from './packages.mjs'
import { median } from './statistics.mjs'

const HERE = import.meta.dirname
const CREDENTIALS = { authorizerName: 'bench-authorizer', username: 'bench-user', password: 'bench-password' }
const CLI_OUTPUT = 'Connecting...\nConnection completed.\nDisconnecting...\nDisconnect completed.\n'
/** Kinds that count CPU time over an empty run. */
const WITH_EMPTY_RUN = new Set(['connect', 'publish', 'receive', 'many', 'paced', 'slow'])
const TIMEOUT_MS = 300_000

let jobs = 0

export function needsEmptyRun({ kind }) {
  return WITH_EMPTY_RUN.has(kind)
}

export async function measure(workload, client, counterpart) {
  switch (workload.kind) {
    case 'import':
      return importing(workload.parameters, client)
    case 'cli':
      return commandLine(workload.parameters, client, counterpart)
    case 'size':
      return installed(client.package)
    default:
      return worker(workload, client, counterpart)
  }
}

/** The measures of raw figures; `empty` is the CPU time of a run that did nothing. */
export function values({ kind, parameters: { count } }, raw, empty) {
  const cpuMicros = (raw.cpuMicros - empty) / count
  switch (kind) {
    case 'connect':
      return { p50: median(raw.micros) / 1_000, cpu: cpuMicros / 1_000 }
    case 'publish':
    case 'receive':
    case 'many':
    case 'paced':
    case 'slow':
      return { cpu: cpuMicros, rate: (count * 1_000) / raw.wallMs }
    case 'idle':
      return { memory: raw.bytes / 1_000 / count, rate: (count * 1_000) / raw.wallMs }
    default:
      return raw
  }
}

async function worker(workload, client, counterpart) {
  const id = `bench-${process.pid}-${++jobs}`
  const { kind } = workload
  const parameters = { ...workload.parameters }
  const { qos, size, count } = parameters
  if (kind === 'receive') {
    parameters.filter = counterpart.name === 'sink' ? `flood/${qos}/${count}/${size}` : `bench/${id}`
  }
  const target = { ...counterpart, port: portFor(workload, counterpart), websocket: workload.websocket }
  const before = counterpart.cpuMillis()
  const fed = kind === 'receive' && count > 0 && counterpart.name !== 'sink'
  const raw = await run(
    job(id, kind, client, target, parameters),
    fed && (() => feed(parameters, target, id)),
  )
  raw.serverCpuMillis = counterpart.cpuMillis() - before
  if (counterpart.name === 'sink') {
    const held = parameters.hold ? 1 : 0
    const {
      connections = { connect: count + held, publish: 1, receive: 1, idle: count + 1 }[kind],
      stuck = 0,
    } = parameters
    const records = await counterpart.records(connections + stuck)
    verify(records, { ...workload, connections: connections + stuck })
    raw.resumed = records.filter(({ resumed }) => resumed).length
  }
  return raw
}

function portFor({ resuming, websocket }, counterpart) {
  if (resuming) return counterpart.resumingPort
  return websocket ? counterpart.websocketPort : counterpart.port
}

function job(id, kind, { executable, module, version }, { host, port, ca, websocket }, parameters) {
  const client = { executable, module, version }
  return { id, kind, ...client, host, port, ca, websocket, credentials: CREDENTIALS, parameters }
}

/** What a broker's subscriber is to receive, published by ours whoever receives. */
function feed({ qos, size, count, filter }, target, id) {
  const parameters = { qos, size, count, window: 1_000, topic: filter }
  return run(job(`${id}-feed`, 'publish', { module: 'ours', version: 3 }, target, parameters))
}

/** Runs worker.mjs, or what stands in for it; `onReady` is called when it says so. */
async function run(work, onReady) {
  const child = work.executable === undefined ? startWorker(work) : startProgram(work)
  const exited = once(child, 'exit')
  let result
  let fed
  for await (const line of createInterface({ input: child.stdout ?? child.stdio[3] })) {
    const message = JSON.parse(line)
    if (!message.ready) result = message
    else if (onReady) fed = onReady()
  }
  await fed
  const [code, signal] = await exited
  if (result === undefined) {
    throw new Error(`${work.module} did not finish ${work.kind} (${signal ?? `exit code ${code}`})`)
  }
  return result
}

function startWorker(work) {
  return spawn(process.execPath, ['--expose-gc', join(HERE, 'worker.mjs'), JSON.stringify(work)], {
    stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
    timeout: TIMEOUT_MS,
    cwd: HERE,
  })
}

/** It gets the job in words of `key=value`. */
function startProgram({ executable, credentials, parameters, ...work }) {
  const words = Object.entries({ ...work, ...credentials, ...parameters })
  return spawn(
    executable,
    words.map(([key, value]) => `${key}=${value}`),
    { stdio: ['ignore', 'pipe', 'inherit'], timeout: TIMEOUT_MS },
  )
}

/** Whether the client did, to the sink, what it says it did. */
function verify(records, { kind, websocket = false, connections, parameters: { count, qos, size, stuck } }) {
  const wrong = (what) => new Error(`${what}: ${JSON.stringify(records.slice(0, 3))}`)
  if (records.length !== connections) throw wrong(`${records.length} connections for ${connections}`)
  if (!records.every(({ alpn, authorizer, password }) => alpn !== websocket && authorizer && password)) {
    throw wrong('a connection without custom authorizer')
  }
  if (kind === 'publish') {
    const [{ qos0, qos1, payloadBytes }] = records
    // One more is the barrier.
    const expected = [qos === 0 ? count : 0, (qos === 1 ? count : 0) + 1]
    if (qos0 !== expected[0] || qos1 !== expected[1] || payloadBytes !== (count + 1) * size) {
      throw wrong('other publishes than asked for')
    }
  }
  if ((kind === 'many' || kind === 'paced') && records.reduce((sum, each) => sum + each.qos1, 0) !== count) {
    throw wrong('other publishes than asked for')
  }
  if (kind === 'receive' && qos === 1 && records[0].acknowledged < count - 1_000) {
    throw wrong('messages without acknowledgement')
  }
  if (kind === 'slow') {
    if (!records.every(({ disconnected }) => disconnected)) throw wrong('an end without DISCONNECT')
    const each = qos === 1 ? count / (connections - stuck) : 0
    const expected = ({ clientId }) => (clientId.includes('-stuck-') ? 0 : each)
    if (!records.every((record) => record.acknowledged === expected(record))) {
      throw wrong('other acknowledgements than of the messages consumed')
    }
  }
}

/** Processes that import the package and processes that do not, in turn. */
async function importing({ count }, { package: name }) {
  const path = name === '..' ? join(HERE, '..') : name
  const times = { with: [], without: [] }
  for (let index = 0; index < count; index++) {
    times.with.push((await time(['-e', `require(${JSON.stringify(path)})`])).wall)
    times.without.push((await time(['-e', '0'])).wall)
  }
  return { wall: median(times.with) - median(times.without) }
}

async function commandLine({ count }, { ours }, { host, port, ca }) {
  const { authorizerName, username, password } = CREDENTIALS
  const args = ours
    ? [
        join(HERE, '../dist/index.js'),
        `--endpoint=${host}`,
        `--port=${port}`,
        `--ca_file=${ca}`,
        `--custom_auth_authorizer_name=${authorizerName}`,
        `--custom_auth_username=${username}`,
        `--custom_auth_password=${password}`,
      ]
    : [join(HERE, 'samples/aws.cjs'), host, port, ca, authorizerName, username, password]
  const walls = []
  const alone = []
  const peaks = []
  for (let index = 0; index < count; index++) {
    walls.push((await timeSample(args)).wall)
    alone.push((await time(['-e', '0'])).wall)
    // To read the peak takes time and memory itself.
    const { peak } = await timeSample(['--require', join(HERE, 'samples/peak.cjs'), ...args])
    peaks.push((Number(peak) * 1_024) / 1e6)
  }
  return { wall: median(walls), alone: median(alone), peak: median(peaks) }
}

async function timeSample(args) {
  const timed = await time(args)
  // The peer's builder warns of a port that is not 443, on standard output.
  const said = timed.output.replace(/^Warning:.*\n/m, '')
  if (said !== CLI_OUTPUT) throw new Error(`the command line printed ${JSON.stringify(timed.output)}`)
  return timed
}

/** Runs Node from its start to its end. */
async function time(args) {
  const before = performance.now()
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit', 'pipe'], cwd: HERE })
  let wall = 0
  child.on('exit', () => (wall = performance.now() - before))
  const closed = once(child, 'close')
  const texts = ['', '']
  child.stdout.on('data', (data) => (texts[0] += data))
  child.stdio[3].on('data', (data) => (texts[1] += data))
  const [code] = await closed
  if (code !== 0) throw new Error(`node ${args.join(' ')}: exit code ${code}`)
  return { wall, output: texts[0], peak: texts[1] }
}
