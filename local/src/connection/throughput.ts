import type { Duplex } from 'node:stream'
import type { Clock, ClockTimer } from '../clock'
import type { PacketStream } from './packet-stream'
import { TokenBucket } from './token-bucket'

/** Lets a connection carry no more than its bytes a second, both directions together: what is beyond them waits. */
export class Throughput {
  readonly #packets: Pick<PacketStream, 'hold' | 'release' | 'holdOutput' | 'releaseOutput'>
  readonly #clock: Clock
  readonly #bucket: TokenBucket
  #pause: ClockTimer | undefined
  #over = false

  /** `packets` reads from `bytes`; what it writes is told by `carried`. */
  constructor(
    bytes: Duplex,
    packets: Pick<PacketStream, 'hold' | 'release' | 'holdOutput' | 'releaseOutput'>,
    clock: Clock,
    bytesPerSecond: number,
  ) {
    this.#packets = packets
    this.#clock = clock
    this.#bucket = new TokenBucket(clock, bytesPerSecond)
    bytes.on('data', (chunk: Buffer) => this.carried(chunk.length))
  }

  carried(bytes: number): void {
    const delayMs = this.#bucket.borrow(bytes)
    if (delayMs === 0 || this.#over || this.#pause !== undefined) return
    this.#packets.hold()
    this.#packets.holdOutput()
    this.#pause = this.#clock.setTimeout(() => {
      this.#pause = undefined
      this.#packets.release()
      this.#packets.releaseOutput()
    }, delayMs)
  }

  stop(): void {
    this.#over = true
    this.#pause?.cancel()
  }
}
