import type { Clock } from '../clock'
import { Refusal } from './refusal'
import { TokenBucket } from './token-bucket'

const QUOTA_EXCEEDED = { returnCode: 3, reasonCode: 0x97 }

/** How often a client id may CONNECT, whoever it is that uses it. */
export class ConnectRate {
  readonly #clock: Clock
  readonly #perSecond: number
  /** The one that was used last comes last. */
  readonly #buckets = new Map<string, { bucket: TokenBucket; usedAt: number }>()

  constructor(clock: Clock, perSecond: number) {
    this.#clock = clock
    this.#perSecond = perSecond
  }

  /** Throws a Refusal for a CONNECT that comes too early. */
  admit(clientId: string): void {
    if (this.#perSecond === Infinity) return
    this.#forgetIdle()
    const bucket = this.#buckets.get(clientId)?.bucket ?? new TokenBucket(this.#clock, this.#perSecond)
    if (!bucket.take()) {
      throw new Refusal(
        'connect',
        'connect-throttled',
        `a client id may send ${this.#perSecond} CONNECT a second; as in IoT Core; the next one in ${bucket.waitMs(1)} ms (limits.connectsPerSecond)`,
        QUOTA_EXCEEDED,
      )
    }
    this.#buckets.delete(clientId)
    this.#buckets.set(clientId, { bucket, usedAt: this.#clock.now() })
  }

  /** A bucket that is full again is as good as a new one; so strangers' client ids do not pile up. */
  #forgetIdle(): void {
    const fullAfterMs = 1000 * Math.max(1, 1 / this.#perSecond)
    const now = this.#clock.now()
    for (const [clientId, { usedAt }] of this.#buckets) {
      if (now - usedAt < fullAfterMs) return
      this.#buckets.delete(clientId)
    }
  }
}
