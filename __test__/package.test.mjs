import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, delimiter, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'

const exec = promisify(execFile)
const ROOT = fileURLToPath(new URL('..', import.meta.url))
const LIMIT = 4 * 1024 * 1024

/** An empty project with the package installed from its tarball, as a user gets it. */
let project
/** What `npm pack` says of the tarball, and where it is. */
let tarball

before(async () => {
  project = mkdtempSync(join(tmpdir(), 'package-test-'))
  // The scripts stay off: `prepare` would build once more what is tested here.
  const pack = await npm(['pack', '--ignore-scripts', '--json', '--pack-destination', project], { cwd: ROOT })
  const [info] = JSON.parse(pack.stdout)
  tarball = { ...info, path: join(project, info.filename) }

  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'app', private: true }))
  await npm(['install', '--offline', '--no-audit', '--no-fund', '--ignore-scripts=false', tarball.path], {
    cwd: project,
    env: withoutCargo(),
  })
})

after(() => rmSync(project, { recursive: true, force: true }))

test('installing it adds this one package, runs no script and compiles nothing', () => {
  const modules = readdirSync(join(project, 'node_modules')).filter((name) => !name.startsWith('.'))
  assert.deepEqual(modules, ['custom-authorizer-connect'])
  const { scripts, dependencies, optionalDependencies, gypfile } = manifest()
  for (const name of ['preinstall', 'install', 'postinstall']) assert.equal(scripts[name], undefined)
  assert.deepEqual([dependencies, optionalDependencies, gypfile], [undefined, undefined, undefined])
  assert.ok(!files().includes('binding.gyp'))
})

test('it holds what is needed and nothing else', () => {
  for (const file of [
    'dist/client.js',
    'dist/index.js',
    'index.d.ts',
    'LICENSE',
    'README.md',
    'CHANGELOG.md',
  ]) {
    assert.ok(files().includes(file), file)
  }
  const others = files().filter((file) => !/^(dist\/.*\.js|[^/]+\.(node|md|d\.ts|json)|LICENSE)$/.test(file))
  assert.deepEqual(others, [])
})

test('the addon, the tarball and what it unpacks to stay under 4 MB', () => {
  const addons = files().filter((file) => file.endsWith('.node'))
  assert.equal(addons.length, 1)
  assert.ok(statSync(join(installed(), addons[0])).size < LIMIT)
  assert.ok(tarball.size < LIMIT)
  assert.ok(tarball.unpackedSize < LIMIT)
})

const USE = `
connectWithCustomAuthorizer({ endpoint: '' }).then(
  () => process.exit(1),
  (error) => console.log(error instanceof MqttError, error.code, typeof signToken),
)
`

test('require works', async () => {
  const code = `const { connectWithCustomAuthorizer, signToken, MqttError } = require('custom-authorizer-connect')${USE}`
  assert.equal(await runFile('use.cjs', code), 'true ERR_INVALID_OPTION function\n')
})

test('import works', async () => {
  const code = `import { connectWithCustomAuthorizer, signToken, MqttError } from 'custom-authorizer-connect'${USE}`
  assert.equal(await runFile('use.mjs', code), 'true ERR_INVALID_OPTION function\n')
})

test('loading it loads no more of Node than a connection needs', async () => {
  const script = `const before = new Set(process.moduleLoadList)
    require('custom-authorizer-connect')
    console.log(JSON.stringify(process.moduleLoadList.filter((name) => !before.has(name))))`
  const { stdout } = await exec(process.execPath, ['-e', script], { cwd: project })
  const loaded = JSON.parse(stdout)
  for (const name of ['crypto', 'net', 'tls', 'http', 'diagnostics_channel']) {
    assert.equal(loaded.includes(`NativeModule ${name}`), false, name)
  }
})

test('import and require give the same module', async () => {
  const code = `
    import { createRequire } from 'node:module'
    import { connectWithCustomAuthorizer } from 'custom-authorizer-connect'
    const required = createRequire(import.meta.url)('custom-authorizer-connect')
    console.log(required.connectWithCustomAuthorizer === connectWithCustomAuthorizer)`
  assert.equal(await runFile('same.mjs', code), 'true\n')
})

test('its command is installed', async () => {
  const command = join(project, 'node_modules/.bin/custom-authorizer-connect')
  const { stdout } = await exec(command, ['--version'], { shell: process.platform === 'win32' })
  assert.equal(stdout.trim(), manifest().version)
})

const TYPED = `
import { connectWithCustomAuthorizer, MqttError, type Connection } from 'custom-authorizer-connect'
export async function connect(): Promise<Connection> {
  const connection = await connectWithCustomAuthorizer({ endpoint: 'host', mqttVersion: 5 })
  for await (const message of await connection.subscribe('a/b')) message.payload.toString('utf8')
  return connection
}
export const isMqttError = (error: unknown): boolean => error instanceof MqttError && error.code === 'ERR_DNS'
// @ts-expect-error -- proves that the types are really there.
void connectWithCustomAuthorizer({ endpoint: 1 })
`

for (const [name, file, options] of [
  ['node16, as a CommonJS module', 'app.cts', { module: 'node16', moduleResolution: 'node16' }],
  ['node16, as an ES module', 'app.mts', { module: 'node16', moduleResolution: 'node16' }],
  ['bundler', 'app.ts', { module: 'esnext', moduleResolution: 'bundler' }],
]) {
  test(`TypeScript finds the types with the resolution ${name}`, async () => {
    writeFileSync(join(project, file), TYPED)
    const config = join(project, `tsconfig.${file}.json`)
    writeFileSync(
      config,
      JSON.stringify({
        compilerOptions: {
          ...options,
          target: 'es2022',
          lib: ['es2022', 'esnext.disposable'],
          strict: true,
          noEmit: true,
          types: ['node'],
          typeRoots: [join(ROOT, 'node_modules/@types')],
        },
        files: [file],
      }),
    )
    await exec(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', config]).catch(
      (error) => assert.fail(error.stdout),
    )
  })
}

test('publint finds nothing', async () => {
  const { messages, pkg } = await publint({ pkgDir: installed(), pack: false, strict: true })
  assert.deepEqual(
    messages.map((message) => formatMessage(message, pkg)),
    [],
  )
})

test('attw finds the types right in every kind of project', async () => {
  const attw = join(ROOT, 'node_modules/@arethetypeswrong/cli/dist/index.js')
  await exec(process.execPath, [attw, tarball.path, '--no-color', '--no-emoji']).catch((error) =>
    assert.fail(error.stdout + error.stderr),
  )
})

function installed() {
  return join(project, 'node_modules/custom-authorizer-connect')
}

function manifest() {
  return JSON.parse(readFileSync(join(installed(), 'package.json'), 'utf8'))
}

function files() {
  return tarball.files.map(({ path }) => path)
}

async function runFile(name, code) {
  writeFileSync(join(project, name), code)
  const { stdout } = await exec(process.execPath, [name], { cwd: project })
  return stdout
}

/** Runs the npm that runs this test, or else the one in the path. */
function npm(args, options) {
  const cli = process.env.npm_execpath
  if (cli !== undefined && basename(cli) === 'npm-cli.js')
    return exec(process.execPath, [cli, ...args], options)
  return exec('npm', args, { ...options, shell: process.platform === 'win32' })
}

/** An environment in which a build could not work, and in which npm knows nothing of the run it is part of. */
function withoutCargo() {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(npm_|CARGO)/i.test(name)))
  const folders = (env.PATH ?? '').split(delimiter).filter((folder) => !/cargo|rust/i.test(folder))
  return { ...env, PATH: folders.join(delimiter), CARGO_HOME: join(project, 'no-cargo') }
}
