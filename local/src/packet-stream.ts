import type { Duplex } from 'node:stream'
import { generate, parser, type Packet } from 'mqtt-packet'
import { Framer, FramingError } from './framing'
import type { Limits } from './limits'

export interface PacketListener {
  onPacket(packet: Packet): void
  /** Bytes that are no MQTT packet; nothing is read after them. */
  onMalformed(error: FramingError): void
  /** Output that had piled up has gone; there is room again. */
  onDrain(): void
  /** The bytes' way is closed; called once. */
  onClose(error: Error | undefined): void
}

/** Output beyond this stops reading from the same client, so that a flood of requests is not answered into memory. */
const CONGESTED_BYTES = 256 * 1024
const FLUSH_BYTES = 64 * 1024
const LINGER_MS = 2000

/** MQTT packets over any stream of bytes: one `write` a turn of the event loop, bounded in both directions. */
export class PacketStream {
  readonly #stream: Duplex
  readonly #listener: PacketListener
  readonly #framer: Framer
  #protocolVersion: 3 | 5 | undefined
  #parser = parser()
  #parsed: Packet | undefined
  #parseError: Error | undefined
  #output: Buffer[] = []
  #outputBytes = 0
  #flushing = false
  #held = false
  #ended = false
  #reading = false
  #error: Error | undefined

  constructor(stream: Duplex, limits: Limits, listener: PacketListener) {
    this.#stream = stream
    this.#listener = listener
    this.#framer = new Framer(limits.packetBytes)
    this.#watchParser()
    stream.on('data', (chunk: Buffer) => this.#onData(chunk))
    stream.on('drain', () => this.#onDrain())
    stream.on('error', (error) => (this.#error = error))
    stream.once('close', () => {
      this.#ended = true
      listener.onClose(this.#error)
    })
    stream.resume() // the front door may have paused it
  }

  /** Bytes that were sent here and that the system has not taken yet. */
  get bufferedBytes(): number {
    return this.#outputBytes + this.#stream.writableLength
  }

  get congested(): boolean {
    return this.bufferedBytes >= CONGESTED_BYTES
  }

  get protocolVersion(): 3 | 5 | undefined {
    return this.#protocolVersion
  }

  /** Settled by CONNECT; decides how everything after it is read and written. */
  setProtocolVersion(version: 3 | 5): void {
    this.#protocolVersion = version
    // A fresh parser, for the old one keeps the whole CONNECT with its password.
    this.#parser = parser({ protocolVersion: version === 5 ? 5 : 4 })
    this.#watchParser()
  }

  /** Hands out no packet and reads nothing until `release`. */
  hold(): void {
    this.#held = true
    this.#regulate()
  }

  release(): void {
    this.#held = false
    this.#parse()
    this.#regulate()
  }

  /** False if the packet is larger than the peer takes; then it was not sent. */
  send(packet: Packet, maximumPacketSize = Infinity): boolean {
    if (this.#ended) return true
    const bytes = generate(packet, { protocolVersion: this.#protocolVersion === 5 ? 5 : 4 })
    if (bytes.length > maximumPacketSize) return false
    this.#output.push(bytes)
    this.#outputBytes += bytes.length
    if (this.#outputBytes >= FLUSH_BYTES) {
      this.#flush()
    } else if (!this.#flushing) {
      this.#flushing = true
      process.nextTick(() => this.#flush())
    }
    return true
  }

  /** Sends what is left, and then closes. What the peer still sends is thrown away. */
  end(last?: Packet): void {
    if (this.#ended) return
    if (last !== undefined) this.send(last)
    this.#flush()
    this.#ended = true
    endQuietly(this.#stream)
  }

  destroy(): void {
    this.#ended = true
    this.#stream.destroy()
  }

  #onData(chunk: Buffer): void {
    if (this.#ended) return
    this.#framer.push(chunk)
    this.#parse()
    this.#regulate()
  }

  #parse(): void {
    // A packet's handling may call release(), which must not start a second loop.
    if (this.#reading) return
    this.#reading = true
    try {
      while (!this.#held && !this.#ended) {
        const frame = this.#framer.next()
        if (frame === undefined) return
        this.#listener.onPacket(this.#parseFrame(frame))
      }
    } catch (error) {
      if (!(error instanceof FramingError)) throw error
      this.#listener.onMalformed(error)
    } finally {
      this.#reading = false
    }
  }

  /** The parser sees one whole packet at a time, so it can neither wait nor read into the next one. */
  #parseFrame(frame: Buffer): Packet {
    this.#parsed = undefined
    this.#parseError = undefined
    try {
      this.#parser.parse(frame)
    } catch (error) {
      this.#parseError ??= error as Error
    }
    if (this.#parseError !== undefined || this.#parsed === undefined) {
      throw new FramingError('malformed-packet', this.#parseError?.message ?? 'the packet is incomplete')
    }
    return this.#parsed
  }

  #watchParser(): void {
    this.#parser.on('packet', (packet) => (this.#parsed = packet))
    this.#parser.on('error', (error: Error) => (this.#parseError = error))
  }

  #flush(): void {
    this.#flushing = false
    if (this.#outputBytes === 0) return
    const output = this.#output
    const bytes = output.length === 1 ? output[0]! : Buffer.concat(output, this.#outputBytes)
    this.#output = []
    this.#outputBytes = 0
    if (this.#stream.writable) this.#stream.write(bytes)
  }

  #onDrain(): void {
    if (this.#ended) return
    this.#listener.onDrain()
    this.#parse()
    this.#regulate()
  }

  /** Reads while there is somebody to read for. */
  #regulate(): void {
    if (this.#ended) return
    if (this.#held || this.congested) this.#stream.pause()
    else this.#stream.resume()
  }
}

/**
 * Ends `stream` and reads on into nothing for a moment: closing with unread input would reset the
 * connection, and the peer could lose the last bytes written to it.
 */
export function endQuietly(stream: Duplex): void {
  if (stream.destroyed) return
  stream.removeAllListeners('data')
  stream.on('error', () => undefined)
  stream.end()
  stream.resume()
  const timer = setTimeout(() => stream.destroy(), LINGER_MS)
  timer.unref()
  stream.once('close', () => clearTimeout(timer))
}
