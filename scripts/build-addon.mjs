// Builds the addon with cargo and puts it where dist/native.js looks: custom-authorizer-connect.<platform>.node
import { spawn, spawnSync } from 'node:child_process'
import { copyFileSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
const NAME = 'custom-authorizer-connect'

/** Ends the build with one sentence for a person. */
class Stop extends Error {}

try {
  const manifest = readFileSync(join(ROOT, 'Cargo.toml'), 'utf8')
  const env = checkToolchain(/rust-version\s*=\s*"(\d+\.\d+)/.exec(manifest)[1])
  const library = await build(env)
  install(library, join(ROOT, `${NAME}.${platform()}.node`))
} catch (error) {
  if (!(error instanceof Stop)) throw error
  console.error(`${NAME}: ${error.message}`)
  process.exitCode = 1
}

/** The environment in which cargo can be called. */
function checkToolchain(needed) {
  // rustup's folder counts too: right after its installation the shell does not know it yet.
  const home = process.env.CARGO_HOME || join(homedir(), '.cargo')
  const key = Object.keys(process.env).find((name) => name.toUpperCase() === 'PATH') ?? 'PATH'
  const env = { ...process.env, [key]: [process.env[key], join(home, 'bin')].filter(Boolean).join(delimiter) }

  const { error, status, stdout, stderr } = spawnSync('cargo', ['--version'], {
    env,
    cwd: ROOT,
    encoding: 'utf8',
  })
  if (error) {
    throw new Stop(
      `building from source needs Rust ${needed} or newer, and there is no cargo here: get it from https://rustup.rs ` +
        `and run the command again, or use the published package, which needs none (npm install ${NAME}).`,
    )
  }
  const [, major, minor] = /^cargo (\d+)\.(\d+)/.exec(stdout) ?? []
  if (status !== 0 || major === undefined) {
    const reason = stderr.trim().split('\n')[0]
    throw new Stop(`cargo does not work here (${reason}); "rustup default stable" sets up a toolchain.`)
  }
  const [neededMajor, neededMinor] = needed.split('.').map(Number)
  if (Number(major) < neededMajor || (Number(major) === neededMajor && Number(minor) < neededMinor)) {
    throw new Stop(
      `building from source needs Rust ${needed} or newer, and this is ${major}.${minor}: ` +
        `"rustup update stable" brings it, and the published package needs none (npm install ${NAME}).`,
    )
  }
  return env
}

/** Runs cargo and resolves with the path of the library, wherever the target directory is. */
async function build(env) {
  const args = [
    'build',
    '--release',
    '--locked',
    '--package',
    NAME,
    '--message-format=json-render-diagnostics',
  ]
  const cargo = spawn('cargo', args, { env, cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = new Promise((resolve) => cargo.on('close', resolve))
  let library
  for await (const line of createInterface({ input: cargo.stdout })) {
    const message = parse(line)
    if (message?.reason !== 'compiler-artifact' || !message.target.kind.includes('cdylib')) continue
    library = message.filenames.find((file) => /\.(so|dylib|dll)$/.test(file)) ?? library
  }
  if ((await exited) !== 0 || library === undefined) {
    throw new Stop(
      'the addon could not be built, cargo says why above; beside Rust it needs a C compiler (cc).',
    )
  }
  return library
}

function parse(line) {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

/** Replaces the addon in one step: a process that has the old one loaded keeps it. */
function install(library, destination) {
  const temporary = `${destination}.${process.pid}.tmp`
  try {
    copyFileSync(library, temporary)
    renameSync(temporary, destination)
  } finally {
    rmSync(temporary, { force: true })
  }
}

function platform() {
  const { platform: os, arch } = process
  if (os === 'linux') return `${os}-${arch}-${isMusl() ? 'musl' : 'gnu'}`
  return os === 'win32' ? `${os}-${arch}-msvc` : `${os}-${arch}`
}

function isMusl() {
  process.report.excludeNetwork = true
  return process.report.getReport().header.glibcVersionRuntime === undefined
}
