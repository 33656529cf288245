/** Of messages that quote an answer, and of util.inspect, which closes the quote before it. */
const ELLIPSIS = '...'
const SHORTEST_CUT = 3

/**
 * Finds many texts in another one in a single pass, whatever their number and whatever they have in common
 * (Aho and Corasick): who chooses the texts may not choose the time that it takes.
 */
export class Needles {
  // A state for each beginning of a needle; 0 is the empty one.
  readonly #depths = [0]
  /** By state: the longest end of that beginning that is a beginning itself. */
  readonly #fallbacks = [0]
  /** By state: the length of the longest needle that ends there, or 0. */
  readonly #matches = [0]
  readonly #transitions = new Map<number, number>()

  constructor(needles: readonly string[]) {
    let growing = needles.filter((text) => text !== '').map((text) => ({ text, state: 0 }))
    // All of a length before the next one: what a state falls back to is shorter than itself.
    for (let depth = 1; growing.length > 0; depth++) {
      for (const needle of growing)
        needle.state = this.#extend(needle.state, needle.text.charCodeAt(depth - 1))
      for (const { text, state } of growing) if (text.length === depth) this.#matches[state] = depth
      growing = growing.filter(({ text }) => text.length > depth)
    }
  }

  /** The text with `mask` in place of each needle, and of what an ellipsis has left of one. */
  replaceIn(text: string, mask: string): string {
    const found: Range[] = []
    let state = 0
    for (let end = 1; end <= text.length; end++) {
      state = this.#follow(state, text.charCodeAt(end - 1))
      const depth = this.#depths[state]!
      const length = depth >= SHORTEST_CUT && isCut(text, end) ? depth : this.#matches[state]!
      if (length > 0) addRange(found, { start: end - length, end })
    }
    if (found.length === 0) return text
    const kept = found.map(({ start }, index) => text.slice(found[index - 1]?.end ?? 0, start))
    return [...kept, text.slice(found.at(-1)!.end)].join(mask)
  }

  #extend(state: number, code: number): number {
    const known = this.#transitions.get(transition(state, code))
    if (known !== undefined) return known
    const created = this.#depths.length
    const fallback = state === 0 ? 0 : this.#follow(this.#fallbacks[state]!, code)
    this.#transitions.set(transition(state, code), created)
    this.#depths.push(this.#depths[state]! + 1)
    this.#fallbacks.push(fallback)
    this.#matches.push(this.#matches[fallback]!)
    return created
  }

  #follow(from: number, code: number): number {
    for (let state = from; ; state = this.#fallbacks[state]!) {
      const next = this.#transitions.get(transition(state, code))
      if (next !== undefined) return next
      if (state === 0) return 0
    }
  }
}

interface Range {
  start: number
  end: number
}

const transition = (state: number, code: number): number => state * 0x1_0000 + code

const isCut = (text: string, end: number): boolean =>
  text.startsWith(ELLIPSIS, /["'`]/.test(text.charAt(end)) ? end + 1 : end)

/** In the order of their ends; those that overlap become one. */
function addRange(ranges: Range[], range: Range): void {
  let { start } = range
  while (ranges.length > 0 && ranges.at(-1)!.end > start) start = Math.min(start, ranges.pop()!.start)
  ranges.push({ start, end: range.end })
}
