// Requests and their answers (MQTT 5 section 4.10).
import type { Message, MessageProperties, Payload, PublishOptions, RequestOptions } from '../index.js'
import { MqttError, closed, invalidOption } from './errors.js'
import { onAbort } from './signals.js'
import { FilterUse } from './subscription.js'

/** What requests ask of their connection. */
export interface Publisher {
  readonly clientId: string
  publish(topic: string, payload: Payload, options: PublishOptions): Promise<unknown>
  /** Subscribes to the topic of answers. */
  listen(topic: string, handler: (message: Message) => void): Promise<FilterUse>
}

/** It carries correlation data at the least. */
type Answer = Message & { readonly properties: MessageProperties }

interface Waiting {
  responseTopic: string
  resolve: (answer: Answer) => void
  reject: (error: unknown) => void
}

const TIMEOUT_MS = 30_000
const REMEMBERED = 1_000

export class Requests {
  readonly #publisher: Publisher
  /** The subscription for each response topic: made with the first request. */
  readonly #listening = new Map<string, Promise<FilterUse>>()
  /** By correlation data. */
  readonly #waiting = new Map<string, Waiting>()
  /** The latest that have ended: their answers may still come. */
  readonly #past = new Set<string>()
  #ended: { error: MqttError | undefined } | undefined

  constructor(publisher: Publisher) {
    this.#publisher = publisher
  }

  async request(topic: string, payload: Payload, options: RequestOptions): Promise<Answer> {
    const {
      responseTopic = `${this.#publisher.clientId}/responses`,
      timeoutMs = TIMEOUT_MS,
      ...publishing
    } = options
    const { properties = {}, signal } = publishing
    for (const name of ['responseTopic', 'correlationData'] as const) {
      if (properties[name] !== undefined) throw setByRequest(name)
    }
    signal?.throwIfAborted()
    if (this.#ended !== undefined) throw this.#ended.error ?? closed()

    // The global one: `node:crypto` would cost every import of the package some milliseconds.
    const correlationData = Buffer.from(crypto.getRandomValues(new Uint8Array(16)))
    const id = correlationData.toString('hex')
    // What nobody waits for any more is not sent later either.
    const over = new AbortController()
    let abort: (() => void) | undefined
    let timer: NodeJS.Timeout | undefined
    try {
      return await new Promise<Answer>((resolve, reject) => {
        this.#waiting.set(id, { responseTopic, resolve, reject })
        if (signal !== undefined) {
          abort = () => reject(signal.reason as Error)
          onAbort(signal, abort)
        }
        timer = setTimeout(() => reject(noResponse(topic, responseTopic, timeoutMs)), timeoutMs).unref()
        const publish = async () => {
          await this.#listen(responseTopic)
          await this.#publisher.publish(topic, payload, {
            ...publishing,
            signal: over.signal,
            properties: { ...properties, responseTopic, correlationData },
          })
        }
        publish().catch(reject)
      })
    } finally {
      this.#waiting.delete(id)
      this.#past.add(id)
      for (const oldest of this.#past) {
        if (this.#past.size <= REMEMBERED) break
        this.#past.delete(oldest)
      }
      clearTimeout(timer)
      if (abort !== undefined) signal?.removeEventListener('abort', abort)
      over.abort()
    }
  }

  /** No answer comes any more. Gives whether somebody learns of that here. */
  end(error: MqttError | undefined): boolean {
    this.#ended = { error }
    for (const { reject } of this.#waiting.values()) reject(error ?? closed())
    return this.#waiting.size > 0
  }

  async #listen(topic: string): Promise<void> {
    const known = this.#listening.get(topic)
    if (known !== undefined && !FilterUse.hasEnded(await known)) return
    const listening = this.#publisher.listen(topic, (message) => this.#answered(message))
    this.#listening.set(topic, listening)
    try {
      await listening
    } catch (error) {
      if (this.#listening.get(topic) === listening) this.#listening.delete(topic)
      throw error instanceof MqttError && error.code === 'ERR_SUBSCRIBE_REJECTED' ? unheard(error) : error
    }
  }

  #answered(message: Message): void {
    const id = message.properties?.correlationData?.toString('hex') ?? ''
    const waiting = this.#waiting.get(id)
    if (waiting?.responseTopic === message.topic) waiting.resolve(message as Answer)
    // With manualAck nobody else would, also where the request was given up. What is no answer is the app's.
    if (waiting !== undefined || this.#past.has(id)) message.ack()
  }
}

function setByRequest(name: string): MqttError {
  return invalidOption(
    `request() sets properties.${name} itself`,
    name === 'responseTopic' ? 'Use the option responseTopic.' : 'Use publish() to choose it yourself.',
  )
}

/** The topic of answers is not one that the app has named in this call. */
function unheard(error: MqttError): MqttError {
  const { code, stage, message, retryable, reasonCode, reasonString } = error
  const hint =
    'request() subscribes to its topic of answers: choose one with the option responseTopic that the policy allows iot:Subscribe and iot:Receive on.'
  return new MqttError({
    code,
    stage,
    message,
    hint,
    retryable,
    ...(reasonCode !== undefined && { reasonCode }),
    ...(reasonString !== undefined && { reasonString }),
  })
}

function noResponse(topic: string, responseTopic: string, timeoutMs: number): MqttError {
  return new MqttError({
    code: 'ERR_NO_RESPONSE',
    stage: 'operation',
    message: `no answer to the request on topic ${JSON.stringify(topic)} came to ${JSON.stringify(responseTopic)} within ${timeoutMs} ms`,
    hint: "Whoever answers has to publish to the request's responseTopic with its correlationData, and the policy has to allow this client iot:Subscribe and iot:Receive there.",
    retryable: true,
  })
}
