// What of the benchmark is written in Rust.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const ROOT = join(import.meta.dirname, '..')

/** Builds a program of a package of the workspace, and gives its path. */
export async function executable(packageName, name, profile) {
  const args = ['build', '--locked', '--package', packageName, '--bin', name, '--profile', profile]
  const cargo = spawn('cargo', [...args, '--message-format=json-render-diagnostics'], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let path
  for await (const line of createInterface({ input: cargo.stdout })) {
    const message = JSON.parse(line)
    if (message.target?.name === name) path = message.executable ?? path
  }
  if (path === undefined) throw new Error(`${name} could not be built, cargo says why above`)
  return path
}
