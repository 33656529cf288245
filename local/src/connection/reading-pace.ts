import type { Duplex } from 'node:stream'
import type { Clock, ClockTimer } from '../clock'
import type { PacketStream } from './packet-stream'
import { TokenBucket } from './token-bucket'

/** Lets a client be read from no faster than its bytes a second: what is beyond them waits in its socket. */
export class ReadingPace {
  #pause: ClockTimer | undefined
  #over = false

  /** `packets` reads from `bytes`. */
  constructor(
    bytes: Duplex,
    packets: Pick<PacketStream, 'hold' | 'release'>,
    clock: Clock,
    bytesPerSecond: number,
  ) {
    const bucket = new TokenBucket(clock, bytesPerSecond)
    bytes.on('data', (chunk: Buffer) => {
      const delayMs = bucket.borrow(chunk.length)
      if (delayMs === 0 || this.#over || this.#pause !== undefined) return
      packets.hold()
      this.#pause = clock.setTimeout(() => {
        this.#pause = undefined
        packets.release()
      }, delayMs)
    })
  }

  stop(): void {
    this.#over = true
    this.#pause?.cancel()
  }
}
