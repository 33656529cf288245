import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { after, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { startPeer } from './support/scripted-peer.mjs'

const CLIENT = createRequire(import.meta.url).resolve('../dist/client.js')
const peer = await startPeer()
after(() => peer.close())

/** A worker that runs this; `worker.until(text)` resolves when it has posted the text. */
function startWorker(source) {
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads')
     const { connectWithCustomAuthorizer } = require(workerData.client)
     const main = async () => { ${source} }
     main()`,
    { eval: true, workerData: { client: CLIENT, where: peer.where } },
  )
  const posted = []
  worker.on('message', (text) => posted.push(text))
  const exited = once(worker, 'exit').then(([code]) => code)
  const until = async (text) => {
    while (!posted.includes(text)) await once(worker, 'message')
  }
  return { worker, exited, until }
}

const BUSY = `
  const limits = { publishesPerSecond: false, bytesPerSecond: false }
  const connection = await connectWithCustomAuthorizer({ ...workerData.where, limits })
  let seen = 0
  connection.on('message', () => {
    connection.publish('out', 'x', { qos: 0 }).catch(() => {})
    connection.publish('out', 'x', { qos: 1 }).catch(() => {})
    if (++seen === 300) parentPort.postMessage('busy')
  })`

test('a worker ends by itself after disconnect()', async () => {
  const { exited } = startWorker(`
    const connection = await connectWithCustomAuthorizer(workerData.where)
    await connection.disconnect()`)
  const link = await peer.welcome()
  await link.expect('disconnect')
  assert.equal(await exited, 0)
})

test('a worker that is terminated mid-traffic ends its link, and the process goes on', async () => {
  for (let round = 0; round < 5; round++) {
    const { worker, until } = startWorker(BUSY)
    const link = await peer.welcome()
    const flooding = link.flood()
    await until('busy')
    await worker.terminate()
    await flooding
  }
})

test('a worker that is terminated while it connects ends its link', async () => {
  const { worker } = startWorker(`await connectWithCustomAuthorizer(workerData.where)`)
  const link = await peer.accept()
  await link.expect('connect')
  await worker.terminate()
  await link.closed
})

test('process.exit in a worker ends its link', async () => {
  const { exited } = startWorker(`
    await connectWithCustomAuthorizer(workerData.where)
    process.exit(3)`)
  const link = await peer.welcome()
  assert.equal(await exited, 3)
  await link.closed
})

test('several environments at once: each gets its own messages, and one that ends harms no other', async () => {
  const echo = `
    const connection = await connectWithCustomAuthorizer(workerData.where)
    connection.on('message', ({ topic }) => connection.publish('echo/' + topic, '', { qos: 0 }))
    parentPort.postMessage('ready')`
  const workers = Array.from({ length: 3 }, () => startWorker(echo))
  const { connection: own, link: ownLink } = await peer.connect({
    onMessage: ({ topic }) => void own.publish(`echo/${topic}`, '', { qos: 0 }),
  })
  const links = [await peer.welcome(), await peer.welcome(), await peer.welcome()]
  await Promise.all(workers.map(({ until }) => until('ready')))

  const exchange = async (link, topic) => {
    link.send({ cmd: 'publish', topic, payload: '' })
    assert.equal((await link.expect('publish')).topic, `echo/${topic}`)
  }
  await Promise.all([...links, ownLink].map((link, index) => exchange(link, `first/${index}`)))

  // Which worker has which link is unknown: one worker ends, one link closes.
  await workers[0].worker.terminate()
  const gone = await Promise.race(links.map((link) => link.closed.then(() => link)))
  const left = links.filter((link) => link !== gone)
  await Promise.all([...left, ownLink].map((link, index) => exchange(link, `second/${index}`)))

  for (const { worker } of workers) await worker.terminate()
  await Promise.all(left.map((link) => link.closed))
  await own.disconnect()
})

test('a worker may load the package and never use it', async () => {
  const { exited } = startWorker(`parentPort.postMessage('loaded')`)
  assert.equal(await exited, 0)
})
