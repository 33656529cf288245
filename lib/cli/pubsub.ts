import type { Connection } from '../../index.js'
import { RunError, oneLine } from './report.js'
import type { Client, Run } from './run.js'

/** Between two messages of a run without end. */
const PAUSE_MS = 1_500
/** For the last message to come back after it was acknowledged. */
const ARRIVAL_MS = 10_000

/** AWS's mqtt5_custom_auth_unsigned and _signed: publishes to a topic and receives its own messages. */
export async function pubsubSample({ connectWithCustomAuthorizer }: Client, run: Run): Promise<void> {
  const { endpoint, port = 443, clientId, mqttVersion } = run.options
  const version = mqttVersion === 3 ? '3.1.1' : '5'
  run.print(`Connecting to ${oneLine(endpoint)}:${port} as ${oneLine(clientId)} over MQTT ${version}...`)
  const connection = await connectWithCustomAuthorizer(run.options)
  run.print('Connected.')
  connection.on('interrupt', ({ error }) =>
    run.print(`Connection lost: ${error.code}: ${oneLine(error.message)}`),
  )
  connection.on('resume', ({ sessionPresent }) =>
    run.print(`Connected again${sessionPresent ? ', the session was kept' : ''}.`),
  )
  try {
    await publishAndReceive(connection, run)
  } finally {
    run.print('Disconnecting...')
    await connection.disconnect()
    run.print('Disconnected.')
  }
}

async function publishAndReceive(connection: Connection, run: Run): Promise<void> {
  const { topic, message, count } = run
  const signal = endOf(connection, run.signal)
  const shownTopic = oneLine(topic)
  const total = count === 0 ? '' : ` of ${count}`
  const arrivals = new Arrivals()

  const subscription = await connection.subscribe(topic, { signal }, ({ topic: from, payload }) => {
    const text = payload.toString()
    const number = arrivals.receive(text)
    const which = number === undefined ? 'Received another message' : `Received ${number}${total}`
    run.print(`${which} on ${oneLine(from)}: ${oneLine(text)}`)
  })
  run.print(`Subscribed to ${shownTopic} at QoS ${subscription.granted[0]?.qos ?? 1}.`)

  const last = count === 0 ? Infinity : count
  for (let number = 1; number <= last; number++) {
    if (count === 0 && number > 1) await wait(PAUSE_MS, signal)
    const text = `${message} [${number}]`
    arrivals.expect(text)
    run.print(`Publishing ${number}${total} to ${shownTopic}: ${oneLine(text)}`)
    await connection.publish(topic, text, { signal })
  }

  if (arrivals.missing > 0) await wait(ARRIVAL_MS, signal, (done) => (arrivals.onAll = done))
  if (arrivals.missing > 0) {
    throw new RunError(
      'ERR_SUSPECTED_POLICY',
      `${count - arrivals.missing} of ${count} messages came back on ${shownTopic}, and then no more.`,
      'All were acknowledged. Does the policy allow iot:Receive on the topic? IoT Core holds back the others silently.',
    )
  }
  run.print(`Messages published and received: ${count}.`)
  await subscription.unsubscribe()
  run.print(`Unsubscribed from ${shownTopic}.`)
}

/** The run's own messages that have not come back yet. */
class Arrivals {
  readonly #expected = new Set<string>()
  #received = 0
  /** Called when none is missing any more. */
  onAll: (() => void) | undefined

  get missing(): number {
    return this.#expected.size
  }

  expect(text: string): void {
    this.#expected.add(text)
  }

  /** Which arrival of this run it is; nothing where someone else sent the message, or it came twice. */
  receive(text: string): number | undefined {
    if (!this.#expected.delete(text)) return undefined
    if (this.missing === 0) this.onAll?.()
    return ++this.#received
  }
}

/** A signal that is aborted when the run is interrupted or its connection ends. */
function endOf(connection: Connection, interrupt: AbortSignal): AbortSignal {
  const controller = new AbortController()
  const stop = () => controller.abort(interrupt.reason)
  if (interrupt.aborted) stop()
  interrupt.addEventListener('abort', stop, { once: true })
  void connection.closed.then(({ error }) => {
    controller.abort(error ?? new RunError('ERR_CLOSED', 'The connection was closed.', ''))
  })
  return controller.signal
}

/** Waits for the time, or until the function it hands out is called. Rejects when the signal is aborted. */
function wait(ms: number, signal: AbortSignal, onDone?: (done: () => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', settle)
      if (signal.aborted) reject(signal.reason)
      else resolve()
    }
    const timer = setTimeout(settle, ms)
    signal.addEventListener('abort', settle)
    if (signal.aborted) settle()
    onDone?.(settle)
  })
}
