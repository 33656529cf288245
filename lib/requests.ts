// Requests and their answers (MQTT 5 section 4.10).
import type { Message, Payload, PublishOptions, RequestOptions } from '../index.js'
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

interface Waiting {
  responseTopic: string
  resolve: (message: Message) => void
  reject: (error: unknown) => void
}

const TIMEOUT_MS = 30_000

export class Requests {
  readonly #publisher: Publisher
  /** The subscription for each response topic: made with the first request. */
  readonly #listening = new Map<string, Promise<FilterUse>>()
  /** By correlation data. */
  readonly #waiting = new Map<string, Waiting>()
  #ended: { error: MqttError | undefined } | undefined

  constructor(publisher: Publisher) {
    this.#publisher = publisher
  }

  async request(topic: string, payload: Payload, options: RequestOptions): Promise<Message> {
    const {
      responseTopic = `${this.#publisher.clientId}/responses`,
      timeoutMs = TIMEOUT_MS,
      ...publishing
    } = options
    const { properties = {}, signal } = publishing
    for (const name of ['responseTopic', 'correlationData'] as const) {
      if (properties[name] !== undefined) {
        throw invalidOption(`request() sets properties.${name} itself; use the option responseTopic`)
      }
    }
    signal?.throwIfAborted()
    await this.#listen(responseTopic)
    signal?.throwIfAborted()
    if (this.#ended !== undefined) throw this.#ended.error ?? closed()

    // The global one: `node:crypto` would cost every import of the package some milliseconds.
    const correlationData = Buffer.from(crypto.getRandomValues(new Uint8Array(16)))
    const id = correlationData.toString('hex')
    let abort: (() => void) | undefined
    let timer: NodeJS.Timeout | undefined
    try {
      return await new Promise<Message>((resolve, reject) => {
        this.#waiting.set(id, { responseTopic, resolve, reject })
        if (signal !== undefined) {
          abort = () => reject(signal.reason as Error)
          onAbort(signal, abort)
        }
        timer = setTimeout(() => reject(noResponse(topic, responseTopic, timeoutMs)), timeoutMs).unref()
        this.#publisher
          .publish(topic, payload, {
            ...publishing,
            properties: { ...properties, responseTopic, correlationData },
          })
          .catch(reject)
      })
    } finally {
      this.#waiting.delete(id)
      clearTimeout(timer)
      if (abort !== undefined) signal?.removeEventListener('abort', abort)
    }
  }

  /** No answer comes any more. */
  end(error: MqttError | undefined): void {
    this.#ended = { error }
    for (const { reject } of this.#waiting.values()) reject(error ?? closed())
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
      throw error
    }
  }

  #answered(message: Message): void {
    const id = message.properties?.correlationData?.toString('hex') ?? ''
    const waiting = this.#waiting.get(id)
    if (waiting?.responseTopic === message.topic) waiting.resolve(message)
    // With manualAck nobody else would: the request's promise may have been given up.
    message.ack()
  }
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
