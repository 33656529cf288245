import type { Duplex } from 'node:stream'
import { generate, parser, type Packet } from 'mqtt-packet'
import { Framer, FramingError } from './framing'
import type { Limits } from '../limits'

export interface PacketListener {
  onPacket(packet: Packet): void
  /** Bytes that are no MQTT packet; nothing is read after them. */
  onMalformed(error: FramingError): void
  /** Output that had piled up has gone; there is room again. */
  onDrain(): void
  /** The bytes' way is closed; called once. */
  onClose(error: Error | undefined): void
  /** So many bytes came in. */
  onRead?(bytes: number): void
  /** So many bytes went out. */
  onWrite?(bytes: number): void
}

/** Output beyond this stops reading from the same client, so that a flood of requests is not answered into memory. */
export const CONGESTED_BYTES = 256 * 1024
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
  #holds = 0
  #outputHolds = 0
  #ended = false
  #finished = false
  #parsing = false
  #reading = true
  #writing = true
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

  /** Hands out no packet and reads nothing until `release`, once for each `hold`. */
  hold(): void {
    this.#holds++
    this.#regulate()
  }

  release(): void {
    this.#holds--
    this.#parse()
    this.#regulate()
  }

  /** Keeps what is sent until `releaseOutput`, once for each `holdOutput`; an end does not wait. */
  holdOutput(): void {
    this.#outputHolds++
  }

  releaseOutput(): void {
    this.#outputHolds--
    this.#flush()
    if (!this.congested) this.#onDrain()
  }

  /** False if the packet is larger than the peer takes; then it was not sent. */
  send(packet: Packet, maximumPacketSize = Infinity): boolean {
    if (this.#ended) return true
    const bytes = this.encode(packet)
    if (bytes.length > maximumPacketSize) return false
    this.write(bytes)
    return true
  }

  encode(packet: Packet): Buffer {
    return generate(packet, { protocolVersion: this.#protocolVersion === 5 ? 5 : 4 })
  }

  write(bytes: Buffer): void {
    if (this.#ended) return
    this.#output.push(bytes)
    this.#outputBytes += bytes.length
    if (this.#outputBytes >= FLUSH_BYTES) {
      this.#flush()
    } else if (!this.#flushing) {
      this.#flushing = true
      process.nextTick(() => this.#flush())
    }
  }

  /** Sends what is left, and then closes. What the peer still sends is thrown away. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    if (this.#writing) this.#finish()
    else this.#stream.pause()
  }

  destroy(): void {
    this.#ended = true
    this.#stream.destroy()
  }

  /** Stopped, it leaves what the peer sends where it is. */
  setReading(reading: boolean): void {
    this.#reading = reading
    this.#parse()
    this.#regulate()
  }

  /** Stopped, it keeps what is sent, and its end, for later. */
  setWriting(writing: boolean): void {
    this.#writing = writing
    if (!writing) return
    if (this.#ended) this.#finish()
    else this.#flush()
  }

  /** While writing is stopped: sends at most so many bytes of what was kept; returns how many. */
  writeSome(atMost: number): number {
    const written = this.#write(atMost)
    if (this.#ended && this.#outputBytes === 0) this.#finish()
    else this.#regulate()
    return written
  }

  #finish(): void {
    if (this.#finished) return
    this.#finished = true
    this.#write(Infinity)
    endQuietly(this.#stream)
  }

  #onData(chunk: Buffer): void {
    if (this.#ended) return
    this.#framer.push(chunk)
    this.#listener.onRead?.(chunk.length)
    this.#parse()
    this.#regulate()
  }

  #parse(): void {
    // A packet's handling may call release(), which must not start a second loop.
    if (this.#parsing) return
    this.#parsing = true
    try {
      while (this.#reading && this.#holds === 0 && !this.#ended) {
        const frame = this.#framer.next()
        if (frame === undefined) return
        this.#listener.onPacket(this.#parseFrame(frame))
      }
    } catch (error) {
      if (!(error instanceof FramingError)) throw error
      this.#listener.onMalformed(error)
    } finally {
      this.#parsing = false
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

  /** In slices, between which the output may be held. */
  #flush(): void {
    this.#flushing = false
    while (this.#outputBytes > 0 && this.#writing && this.#outputHolds === 0) this.#write(FLUSH_BYTES)
  }

  #write(atMost: number): number {
    const slice: Buffer[] = []
    let left = atMost
    while (left > 0 && this.#output.length > 0) {
      const head = this.#output[0]!
      const part = head.length <= left ? head : head.subarray(0, left)
      if (part === head) this.#output.shift()
      else this.#output[0] = head.subarray(left)
      slice.push(part)
      left -= part.length
    }
    if (slice.length === 0) return 0
    const bytes = slice.length === 1 ? slice[0]! : Buffer.concat(slice)
    this.#outputBytes -= bytes.length
    if (this.#stream.writable) this.#stream.write(bytes)
    this.#listener.onWrite?.(bytes.length)
    return bytes.length
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
    if (!this.#reading || this.#holds > 0 || this.congested) this.#stream.pause()
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

/** A TLS socket cannot reset itself, the TCP socket under it can; no public name leads there. */
export function resetSocket(socket: Duplex): void {
  const tcp = (Reflect.get(socket, '_parent') ?? socket) as Duplex & { resetAndDestroy?: () => void }
  if (tcp.resetAndDestroy === undefined || tcp.destroyed) socket.destroy()
  else tcp.resetAndDestroy()
}
