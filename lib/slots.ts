// Operations whose outcome is still to come, by the number under which it will be reported.

type Settle = (value: never) => void

/** A dense table: the number of a slot is free again only when its outcome was reported. */
export class Slots {
  readonly #resolve: (Settle | undefined)[] = []
  readonly #reject: (Settle | undefined)[] = []
  readonly #free: number[] = []

  open<T>(resolve: (value: T) => void, reject: (error: unknown) => void): number {
    const token = this.#free.pop() ?? this.#resolve.length
    this.#resolve[token] = resolve as Settle
    this.#reject[token] = reject as Settle
    return token
  }

  resolve(token: number, value: unknown): void {
    const resolve = this.#resolve[token]
    this.#close(token)
    resolve?.(value as never)
  }

  reject(token: number, error: unknown): void {
    const reject = this.#reject[token]
    this.#close(token)
    reject?.(error as never)
  }

  /** Rejects everything that is left. */
  rejectAll(error: () => unknown): void {
    for (let token = 0; token < this.#reject.length; token++) {
      if (this.#reject[token] !== undefined) this.reject(token, error())
    }
  }

  #close(token: number): void {
    if (this.#resolve[token] === undefined) return
    this.#resolve[token] = undefined
    this.#reject[token] = undefined
    this.#free.push(token)
  }
}
