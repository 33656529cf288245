// Makes dist/ out of lib/: few files, since loading a module costs the more the more files it is in.
import { rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
/** What is loaded by itself: the package, the command line, and what most runs of them do without. */
const ENTRIES = ['client', 'diagnose', 'index']

const output = join(ROOT, 'dist')
rmSync(output, { recursive: true, force: true })
const bundle = await rolldown({
  input: Object.fromEntries(ENTRIES.map((name) => [name, join(ROOT, `lib/${name}.ts`)])),
  platform: 'node',
  tsconfig: join(ROOT, 'tsconfig.json'),
  plugins: [{ name: 'entries', resolveId: entryRequired }],
  external: ['../package.json'],
})
await bundle.write({
  dir: output,
  format: 'cjs',
  exports: 'named',
  // Node reads and keeps every byte of them.
  comments: false,
  entryFileNames: '[name].js',
  chunkFileNames: ({ moduleIds }) =>
    moduleIds.some((id) => id.startsWith(ROOT)) ? 'shared.js' : 'runtime.js',
})
await bundle.close()

/** An entry that is required stays a file of its own. */
function entryRequired(source, importer, { kind }) {
  const [, name] = /^\.\.?\/(\w+)\.js$/.exec(source) ?? []
  if (kind !== 'require-call' || !ENTRIES.includes(name)) return null
  return { id: `./${name}.js`, external: true }
}
