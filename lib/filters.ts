import type { FilterUse } from './subscription.js'

export interface FilterEntry {
  readonly filter: string
  readonly id: number
  /** The highest QoS that any use has asked for, so that a later one takes nothing from an earlier. */
  qos: number
  readonly uses: Set<FilterUse>
}

/** The topic filters of a connection, each once, with everyone who uses it. */
export class Filters {
  readonly #byText = new Map<string, FilterEntry>()
  readonly #byId = new Map<number, FilterEntry>()
  #nextId = 0

  /** The entry of a filter, made where there is none. */
  enter(filter: string): FilterEntry {
    let entry = this.#byText.get(filter)
    if (entry === undefined) {
      entry = { filter, id: this.#nextId++, qos: 0, uses: new Set() }
      this.#byText.set(filter, entry)
      this.#byId.set(entry.id, entry)
    }
    return entry
  }

  /** Takes a use off filters; gives those that have none left, and are gone. */
  detach(use: FilterUse, filters: readonly string[]): string[] {
    return filters.filter((filter) => {
      const entry = this.#byText.get(filter)
      entry?.uses.delete(use)
      if (entry === undefined || entry.uses.size > 0) return false
      this.#byText.delete(filter)
      this.#byId.delete(entry.id)
      return true
    })
  }

  get(id: number): FilterEntry | undefined {
    return this.#byId.get(id)
  }

  /** The filters of a use that it is still on. */
  of(use: FilterUse): string[] {
    return use.filters.filter((filter) => this.#byText.get(filter)?.uses.has(use))
  }

  usesOf(filter: string): readonly FilterUse[] {
    return [...(this.#byText.get(filter)?.uses ?? [])]
  }

  /** Each use of these filters once, as they are now: handlers may come and go while the list is walked. */
  usesOfIds(ids: readonly number[]): readonly FilterUse[] {
    if (ids.length === 1) return [...(this.#byId.get(ids[0]!)?.uses ?? [])]
    return [...new Set(ids.flatMap((id) => [...(this.#byId.get(id)?.uses ?? [])]))]
  }

  /** Each use of the filters that fit. */
  usesWhere(fits: (filter: string) => boolean): readonly FilterUse[] {
    const entries = [...this.#byText.values()].filter(({ filter }) => fits(filter))
    return this.usesOfIds(entries.map(({ id }) => id))
  }

  clear(): void {
    this.#byText.clear()
    this.#byId.clear()
  }
}
