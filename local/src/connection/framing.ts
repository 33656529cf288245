/** Crumbs beyond this many are joined: each costs far more memory than its few bytes. */
const MAX_CHUNKS = 256

/** Cuts a byte stream into MQTT packets, and stops at one that is too large before it is buffered. */
export class Framer {
  readonly #limit: number
  #chunks: Buffer[] = []
  #length = 0
  /** Bytes that the packet under way needs, once its header says so. */
  #needed = 2

  constructor(limit: number) {
    this.#limit = limit
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#length += chunk.length
    if (this.#chunks.length > MAX_CHUNKS) this.#chunks = [Buffer.concat(this.#chunks, this.#length)]
  }

  /** How many pieces the packet under way is kept in. */
  get pieces(): number {
    return this.#chunks.length
  }

  /** The next whole packet, or undefined until more bytes arrive. Throws a FramingError. */
  next(): Buffer | undefined {
    if (this.#length < this.#needed) return undefined
    // Joined only when enough is there: a packet that arrives in crumbs is copied once.
    const buffer = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks, this.#length)
    const size = this.#packetSize(buffer)
    if (size === undefined || buffer.length < size) {
      this.#needed = size ?? buffer.length + 1
      this.#chunks = [buffer]
      return undefined
    }
    this.#chunks = buffer.length === size ? [] : [buffer.subarray(size)]
    this.#length = buffer.length - size
    this.#needed = 2
    return buffer.subarray(0, size)
  }

  #packetSize(buffer: Buffer): number | undefined {
    let remaining = 0
    for (let index = 1; index <= 4; index++) {
      const byte = buffer[index]
      if (byte === undefined) return undefined
      remaining += (byte & 0x7f) * 128 ** (index - 1)
      if ((byte & 0x80) === 0) {
        if (remaining <= this.#limit) return index + 1 + remaining
        throw new FramingError(
          'packet-too-large',
          `the packet says ${remaining} bytes, the limit is ${this.#limit}`,
        )
      }
    }
    throw new FramingError('malformed-packet', 'the remaining length has more than four bytes')
  }
}

export class FramingError extends Error {
  override readonly name = 'FramingError'

  constructor(
    readonly rule: 'packet-too-large' | 'malformed-packet',
    message: string,
  ) {
    super(message)
  }
}
