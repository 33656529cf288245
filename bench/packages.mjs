// How much an installed package takes, with everything that it needs.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'

const HERE = import.meta.dirname

/** Megabytes and number of packages. */
export function installed(name) {
  if (name === '..') return packed(join(HERE, name))
  const folders = new Set()
  follow(join(HERE, 'node_modules', name), folders)
  let bytes = 0
  for (const folder of folders) bytes += size(folder)
  return { size: bytes / 1e6, packages: folders.size }
}

export function version(name) {
  const manifest = name === '..' ? join(HERE, '..') : join(HERE, 'node_modules', name)
  return readManifest(manifest).version
}

/** Ours is not installed here but built: what it would unpack to. */
function packed(folder) {
  const { stdout, stderr, status } = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: folder,
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`npm pack: ${stderr}`)
  const answer = JSON.parse(stdout)
  const [{ unpackedSize }] = Array.isArray(answer) ? answer : Object.values(answer)
  const { dependencies = {} } = readManifest(folder)
  return { size: unpackedSize / 1e6, packages: 1 + Object.keys(dependencies).length }
}

/** Adds the folder of a package, and those of its dependencies as Node would find them. */
function follow(folder, folders) {
  if (folders.has(folder)) return
  folders.add(folder)
  const { dependencies = {}, optionalDependencies = {} } = readManifest(folder)
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
    const found = resolve(name, folder)
    if (found !== undefined) follow(found, folders)
  }
}

function resolve(name, from) {
  for (let folder = from; folder.startsWith(HERE); folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name)
    if (existsSync(candidate)) return candidate
  }
  return undefined
}

/** Bytes of a package's own files. */
function size(folder) {
  let bytes = 0
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.name === 'node_modules') continue
    const path = join(folder, entry.name)
    if (entry.isDirectory()) bytes += size(path)
    else if (entry.isFile()) bytes += statSync(path).size
  }
  return bytes
}

function readManifest(folder) {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
}
