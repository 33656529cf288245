// The benchmark: `node run.mjs --help`.
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { executable } from './cargo.mjs'
import { CLIENTS } from './clients.mjs'
import { startCounterpart } from './counterpart.mjs'
import { measure, needsEmptyRun, values } from './measure.mjs'
import { version } from './packages.mjs'
import { figure, markdown, ratioText } from './report.mjs'
import { median } from './statistics.mjs'
import { MEASURES, workloads } from './workloads.mjs'

const HELP = `node run.mjs [WORKLOAD...] [options]

A WORKLOAD is the beginning of an id: publish, publish/1, publish/1/64/100. None: all of them.

  --runs N          runs of each, of which the median counts (default 3)
  --quick           a twentieth of the messages, and one run: to see that it works
  --clients A,B     beginnings of clients' names (default all but those marked *)
  --against NAME    sink or mosquitto (default sink)
  --list            the workloads and the clients
`

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string' },
    quick: { type: 'boolean', default: false },
    clients: { type: 'string' },
    against: { type: 'string', default: 'sink' },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

if (options.help) {
  process.stdout.write(HELP)
} else if (options.list) {
  for (const { id, title } of workloads(1)) console.log(`${id.padEnd(26)} ${title}`)
  console.log()
  for (const { name, optional } of CLIENTS) console.log(`${name}${optional ? ' *' : ''}`)
} else {
  await main()
}

async function main() {
  const runs = Number(options.runs ?? (options.quick ? 1 : 3))
  if (!Number.isInteger(runs) || runs < 1) throw new Error('--runs must be a number from 1')
  const clients = await built(chosenClients())
  const chosen = chosenWorkloads()
  const counterpart = await startCounterpart(options.against)
  const about = describe(clients, runs)
  const samples = new Map()
  const results = []
  try {
    for (const group of groups(chosen)) {
      for (const result of await bench(group, clients, runs, counterpart, samples)) {
        results.push(result)
        progress(result, clients)
      }
    }
  } finally {
    await counterpart.stop()
  }
  about['load average at the end'] = load()
  save({ about, clients: clients.map(({ name }) => name), results })
}

function chosenClients() {
  const wanted = options.clients?.toLowerCase().split(',')
  const fitting = CLIENTS.filter(({ layer }) => !layer || options.against === 'sink')
  const chosen = fitting.filter(({ name, optional }) =>
    wanted ? wanted.some((prefix) => name.toLowerCase().startsWith(prefix.trim())) : !optional,
  )
  if (chosen.length === 0) throw new Error(`no client is called ${options.clients}; see --list`)
  return chosen
}

/** Layers have a program in place of worker.mjs. */
async function built(clients) {
  if (!clients.some(({ layer }) => layer)) return clients
  const program = await executable('bench-loops', 'bench-client', 'release')
  return clients.map((client) => (client.layer ? { ...client, executable: program } : client))
}

function chosenWorkloads() {
  const all = workloads(options.quick ? 0.05 : 1).filter(
    ({ sinkOnly }) => !sinkOnly || options.against === 'sink',
  )
  const starts = (id, prefix) => id === prefix || id.startsWith(`${prefix}/`)
  const unknown = positionals.find((prefix) => !all.some(({ id }) => starts(id, prefix)))
  if (unknown !== undefined) throw new Error(`no workload is called ${unknown}; see --list`)
  if (positionals.length === 0) return all
  return all.filter(({ id }) => positionals.some((prefix) => starts(id, prefix)))
}

/** Workloads that are compared with each other, together: a machine that others share changes from minute to minute. */
function groups(chosen) {
  const found = new Map()
  for (const workload of chosen) {
    const key = workload.comparedWith ?? workload.id
    found.set(key, [...(found.get(key) ?? []), workload])
  }
  return found.values()
}

/** All runs of some workloads, in turn: workloads and clients, each run beginning with another client. */
async function bench(group, allClients, runs, counterpart, samples) {
  const raws = new Map(group.map(({ id }) => [id, new Map()]))
  for (let run = 0; run < runs; run++) {
    for (const workload of group) {
      const clients = participants(workload, allClients)
      const taken = raws.get(workload.id)
      for (let turn = 0; turn < clients.length; turn++) {
        const client = clients[(turn + run) % clients.length]
        if (needsEmptyRun(workload)) await emptyRun(workload, client, run, counterpart, samples)
        const raw = await measure(workload, client, counterpart)
        taken.set(client.name, [...(taken.get(client.name) ?? []), raw])
      }
    }
  }
  return group.map((workload) => {
    return summary(workload, participants(workload, allClients), raws.get(workload.id), samples)
  })
}

/** Medians of all runs, and the ratios; `samples` gets the medians for workloads that are compared with this one. */
function summary(workload, clients, raws, samples) {
  const medians = {}
  const measured = {}
  for (const { name } of clients) {
    const empty = median(samples.get(emptyKey(workload, name)) ?? [])
    measured[name] = raws.get(name).map((raw) => values(workload, raw, empty))
    medians[name] = {}
    for (const { key } of MEASURES[workload.kind]) {
      medians[name][key] = median(measured[name].map((each) => each[key]))
    }
  }
  const { id, title, kind, parameters, comparedWith } = workload
  const beside = (key) =>
    Object.fromEntries(clients.map(({ name }) => [name, median(raws.get(name).map((raw) => raw[key]))]))
  const result = {
    id,
    title,
    kind,
    parameters,
    medians,
    runs: measured,
    // Where this is close to the wall time, the server was the limit of the rate.
    serverCpuMillis: beside('serverCpuMillis'),
    resumed: beside('resumed'),
  }
  samples.set(id, medians)
  const others = comparedWith === undefined ? medians : (samples.get(comparedWith) ?? {})
  return { ...result, ratios: ratios(kind, medians, others, workload.besideOurs) }
}

function participants({ kind, oursOnly }, clients) {
  if (oursOnly) return clients.filter(({ ours }) => ours)
  if (kind === 'publish' || kind === 'receive') return clients
  const packaged = clients.filter(({ layer }) => !layer)
  if (kind === 'cli') return onePerPackage(packaged, ({ ours, sample }) => ours || sample)
  if (kind === 'import' || kind === 'size') return onePerPackage(packaged, () => true)
  return packaged
}

/** What does not depend on the version of MQTT is measured once a package. */
function onePerPackage(clients, fits) {
  const fitting = clients.filter(fits)
  return fitting.filter((client, index) => {
    return fitting.findIndex((other) => other.package === client.package) === index
  })
}

/** Once for each kind, client and run: the same workload with nothing to do. */
async function emptyRun(workload, client, run, counterpart, samples) {
  const key = emptyKey(workload, client.name)
  const taken = samples.get(key) ?? []
  samples.set(key, taken)
  if (taken.length > run) return
  const parameters = { ...workload.parameters, count: 0, iterator: false }
  taken.push((await measure({ ...workload, parameters }, client, counterpart)).cpuMicros)
}

function emptyKey({ kind, websocket, parameters: { hold, connections = 1, stuck = 0, qos } }, client) {
  const beside = `${hold ? ' beside another' : ''}${stuck > 0 ? ` beside ${stuck} stuck at QoS ${qos}` : ''}`
  const how = `${beside}${websocket ? ' over WebSocket' : ''}`
  return `${kind}${how}, ${connections} connections, ${client}`
}

/** Ours to the best peer, for each measure; over WebSocket to ours without. Layers are neither. */
function ratios(kind, medians, others, besideOurs = false) {
  const best = (from, wanted, { key, more }) => {
    const side = CLIENTS.filter(({ ours = false, layer }) => !layer && ours === wanted)
    const measured = side.filter(({ name }) => name in from)
    const found = measured.map(({ name }) => from[name][key]).filter((value) => !Number.isNaN(value))
    return more ? Math.max(...found) : Math.min(...found)
  }
  return Object.fromEntries(
    MEASURES[kind].map((each) => [each.key, best(medians, true, each) / best(others, besideOurs, each)]),
  )
}

function progress({ id, kind, medians, ratios: ratio }, clients) {
  for (const { key, name, unit } of MEASURES[kind]) {
    const figures = clients
      .filter((client) => medians[client.name] !== undefined)
      .map((client) => `${client.name} ${figure(medians[client.name][key])}`)
    console.error(
      `${id.padEnd(24)} ${name}${unit && `, ${unit}`}: ${figures.join(' · ')} → ${ratioText(ratio[key])}`,
    )
  }
}

function describe(clients, runs) {
  const packages = [...new Set(clients.map((client) => client.package).filter(Boolean))]
  const versions = packages.map((name) => `${name === '..' ? 'ours' : name} ${version(name)}`)
  return {
    date: new Date().toISOString(),
    commit: commit(),
    machine: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, ${process.platform} ${process.arch}`,
    node: process.version,
    packages: versions.join(', '),
    against: options.against,
    runs: `${runs}${options.quick ? ', quick: figures mean little' : ''}`,
    'load average at the start': load(),
  }
}

function commit() {
  const git = (...args) => execFileSync('git', args, { cwd: import.meta.dirname, encoding: 'utf8' }).trim()
  try {
    const changed =
      git('status', '--porcelain', '--', '../lib', '../src', '../engine') === '' ? '' : ', changed'
    return git('rev-parse', '--short', 'HEAD') + changed
  } catch {
    return 'unknown'
  }
}

function load() {
  return loadavg()
    .map((value) => value.toFixed(2))
    .join(' ')
}

function save(report) {
  const folder = join(import.meta.dirname, 'results')
  mkdirSync(folder, { recursive: true })
  const name = join(folder, report.about.date.replaceAll(':', '-').slice(0, 19))
  const text = markdown(report)
  writeFileSync(`${name}.json`, `${JSON.stringify(report, undefined, 2)}\n`)
  writeFileSync(`${name}.md`, text)
  process.stdout.write(`\n${text}\n${name}.md\n`)
}
