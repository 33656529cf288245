import type { FilterUse } from './subscription.js'

export interface FilterEntry {
  readonly filter: string
  readonly id: number
  /** The highest QoS that any use has asked for, so that a later one takes nothing from an earlier. */
  qos: number
  /** As they are now: another one comes with another list, and whoever walks this one is not disturbed. */
  uses: readonly FilterUse[]
}

const NOBODY: readonly FilterUse[] = []

/** The topic filters of a connection, each once, with everyone who uses it. */
export class Filters {
  /** Made with the first of them: many connections only publish. */
  #maps: { byText: Map<string, FilterEntry>; byId: Map<number, FilterEntry> } | undefined
  #nextId = 0

  /** The entry of a filter, made where there is none. */
  enter(filter: string): FilterEntry {
    const { byText, byId } = (this.#maps ??= { byText: new Map(), byId: new Map() })
    let entry = byText.get(filter)
    if (entry === undefined) {
      entry = { filter, id: this.#nextId++, qos: 0, uses: NOBODY }
      byText.set(filter, entry)
      byId.set(entry.id, entry)
    }
    return entry
  }

  attach(use: FilterUse, entry: FilterEntry): void {
    if (!entry.uses.includes(use)) entry.uses = [...entry.uses, use]
  }

  /** Takes a use off filters; gives those that have none left, and are gone. */
  detach(use: FilterUse, filters: readonly string[]): string[] {
    return filters.filter((filter) => {
      const entry = this.#entry(filter)
      if (entry === undefined) return false
      entry.uses = entry.uses.filter((each) => each !== use)
      if (entry.uses.length > 0) return false
      this.#maps?.byText.delete(filter)
      this.#maps?.byId.delete(entry.id)
      return true
    })
  }

  get(id: number): FilterEntry | undefined {
    return this.#maps?.byId.get(id)
  }

  /** The filters of a use that it is still on. */
  of(use: FilterUse): string[] {
    return use.filters.filter((filter) => this.#entry(filter)?.uses.includes(use))
  }

  usesOf(filter: string): readonly FilterUse[] {
    return this.#entry(filter)?.uses ?? NOBODY
  }

  /** Each use of these filters once, as they are now. */
  usesOfIds(ids: readonly number[]): readonly FilterUse[] {
    if (ids.length === 1) return this.get(ids[0]!)?.uses ?? NOBODY
    return [...new Set(ids.flatMap((id) => this.get(id)?.uses ?? NOBODY))]
  }

  /** Each use of the filters that fit. */
  usesWhere(fits: (filter: string) => boolean): readonly FilterUse[] {
    const entries = [...(this.#maps?.byText.values() ?? [])].filter(({ filter }) => fits(filter))
    return this.usesOfIds(entries.map(({ id }) => id))
  }

  clear(): void {
    this.#maps = undefined
  }

  #entry(filter: string): FilterEntry | undefined {
    return this.#maps?.byText.get(filter)
  }
}
