// Makes dist/ out of lib/: few files, since loading a module costs the more the more files it is in.
import { rmSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
/** The package, the command line, and what is required by the package only where it is used. */
const ENTRIES = ['client', 'credentials', 'index', 'requests']

const source = join(ROOT, 'lib')
const output = join(ROOT, 'dist')
const entries = Object.fromEntries(ENTRIES.map((name) => [name, join(source, `${name}.ts`)]))
rmSync(output, { recursive: true, force: true })
const bundle = await rolldown({
  input: entries,
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
  // Those of `import()` are where they are in lib/.
  chunkFileNames: ({ facadeModuleId }) =>
    facadeModuleId ? relative(source, facadeModuleId).replace(/ts$/, 'js') : '[name].js',
  codeSplitting: {
    // In place of one for every set of entries that share something.
    groups: [{ name: 'shared', minShareCount: 2, test: isOfPackage }],
  },
})
await bundle.close()

/** What is neither an entry nor of the command line, whose `index.js` has it all. */
function isOfPackage(id) {
  return !Object.values(entries).includes(id) && !id.startsWith(join(source, 'cli'))
}

/** An entry that is required stays a file of its own. */
function entryRequired(specifier, importer, { kind }) {
  const [, name] = /^\.\.?\/(\w+)\.js$/.exec(specifier) ?? []
  if (kind !== 'require-call' || !ENTRIES.includes(name)) return null
  return { id: `./${name}.js`, external: true }
}
