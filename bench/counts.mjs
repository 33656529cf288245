// The short form of the benchmark: instructions and allocations for each message in the engine, without a clock.
// `node counts.mjs` compares with counts.json, `node counts.mjs --record` writes it.
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { executable } from './cargo.mjs'
import { figure } from './report.mjs'

const RECORD = join(import.meta.dirname, 'counts.json')
/** Of two runs the difference counts: what a process does once cancels out. */
const COUNTS = [2_000, 22_000]
const WORKLOADS = [
  { id: 'publish/0', title: 'publish, QoS 0, 64 B, 100 at a time' },
  { id: 'publish/1', title: 'publish, QoS 1, 64 B, 100 at a time' },
  { id: 'receive/0', title: 'receive, QoS 0, 64 B' },
  { id: 'receive/1', title: 'receive, QoS 1, 64 B' },
]
const MEASURES = ['instructions', 'allocations']
/** Compilers, libraries and processors differ by some percent; less than this is no regression. */
const GROSS = 2
/** Fewer allocations for each message are no regression either: some batch was cut in another place. */
const FEW_ALLOCATIONS = 0.5

const run = promisify(execFile)
const { values: options } = parseArgs({ options: { record: { type: 'boolean', default: false } } })

const withValgrind = await hasValgrind()
const program = await executable('bench-loops', 'bench-counts', 'release')
const measured = {}
for (const { id } of WORKLOADS) measured[id] = await cost(id)
if (options.record) record()
else compare(JSON.parse(readFileSync(RECORD, 'utf8')))

async function hasValgrind() {
  try {
    await run('valgrind', ['--version'])
    return true
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
    const what = 'instructions are not counted: valgrind is not installed (apt-get install valgrind)'
    if (options.record || process.env.REQUIRE_VALGRIND === '1') throw new Error(what, { cause: error })
    console.log(what)
    return false
  }
}

/** What one message costs. */
async function cost(id) {
  const [few, many] = [await totals(id, COUNTS[0]), await totals(id, COUNTS[1])]
  const each = (measure) => (many[measure] - few[measure]) / (COUNTS[1] - COUNTS[0])
  return Object.fromEntries(MEASURES.map((measure) => [measure, each(measure)]))
}

/** What a whole process costs. */
async function totals(id, count) {
  const words = [program, ...id.split('/'), String(count)]
  const callgrind = ['valgrind', '--tool=callgrind', '--callgrind-out-file=/dev/null']
  const [command, ...args] = withValgrind ? [...callgrind, ...words] : words
  const { stdout, stderr } = await run(command, args)
  const [, instructions] = /Collected : (\d+)/.exec(stderr) ?? []
  if (withValgrind && instructions === undefined) throw new Error(`callgrind gave no count: ${stderr}`)
  return { allocations: Number(stdout), instructions: Number(instructions) }
}

function record() {
  const rounded = (value) => Number(value.toPrecision(4))
  const figures = Object.entries(measured).map(([id, { instructions, allocations }]) => [
    id,
    { instructions: rounded(instructions), allocations: rounded(allocations) },
  ])
  writeFileSync(RECORD, `${JSON.stringify(Object.fromEntries(figures), undefined, 2)}\n`)
  console.log(`written to ${RECORD}`)
}

/** Prints a table; a gross regression fails. */
function compare(recorded) {
  console.log('| each message | instructions | recorded | allocations | recorded |')
  console.log('| --- | ---: | ---: | ---: | ---: |')
  const regressions = []
  for (const { id, title } of WORKLOADS) {
    const cells = MEASURES.flatMap((measure) => [measured[id][measure], recorded[id][measure]])
    console.log(`| ${title} | ${cells.map(figure).join(' | ')} |`)
    for (const measure of MEASURES) {
      const floor = measure === 'allocations' ? FEW_ALLOCATIONS : 0
      const most = Math.max(GROSS * recorded[id][measure], floor)
      if (measured[id][measure] > most) regressions.push(`${title}: more than ${figure(most)} ${measure}`)
    }
  }
  if (regressions.length === 0) return
  for (const regression of regressions) console.error(regression)
  console.error('Where that is meant: npm run bench:counts -- --record')
  process.exitCode = 1
}
