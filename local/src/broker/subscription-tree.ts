/** What the tree needs to know of a subscription. */
export interface TreeEntry {
  /** Without `$share/<name>/`. */
  filter: string
  shareName?: string
}

/** All subscriptions by the levels of their filters, so that a message meets only those that match it. */
export class SubscriptionTree<E extends TreeEntry> {
  readonly #root = new Node<E>()

  add(entry: E): void {
    let node = this.#root
    for (const level of entry.filter.split('/')) {
      let child = node.children.get(level)
      if (child === undefined) node.children.set(level, (child = new Node(node, level)))
      node = child
    }
    if (entry.shareName === undefined) node.entries.add(entry)
    else node.group(entry.shareName).add(entry)
  }

  remove(entry: E): void {
    let node: Node<E> | undefined = this.#root
    for (const level of entry.filter.split('/')) {
      node = node.children.get(level)
      if (node === undefined) return
    }
    node.entries.delete(entry)
    if (entry.shareName !== undefined) {
      node.group(entry.shareName).delete(entry)
      if (node.group(entry.shareName).size === 0) node.groups.delete(entry.shareName)
    }
    node.prune()
  }

  /** Those that match `topic`, and of each shared group its members, to choose one from. */
  match(topic: string): { entries: E[]; groups: ReadonlySet<E>[] } {
    const found = { entries: [] as E[], groups: [] as ReadonlySet<E>[] }
    collect(this.#root, topic.split('/'), 0, found)
    return found
  }
}

class Node<E> {
  readonly children = new Map<string, Node<E>>()
  readonly entries = new Set<E>()
  readonly groups = new Map<string, Set<E>>()

  constructor(
    readonly parent?: Node<E>,
    readonly level = '',
  ) {}

  group(name: string): Set<E> {
    let group = this.groups.get(name)
    if (group === undefined) this.groups.set(name, (group = new Set()))
    return group
  }

  prune(): void {
    if (this.parent === undefined || this.children.size + this.entries.size + this.groups.size > 0) return
    this.parent.children.delete(this.level)
    this.parent.prune()
  }
}

function collect<E>(
  node: Node<E>,
  levels: string[],
  depth: number,
  found: { entries: E[]; groups: ReadonlySet<E>[] },
): void {
  const level = levels[depth]
  if (level === undefined) return take(node, found)
  const exact = node.children.get(level)
  if (exact !== undefined) collect(exact, levels, depth + 1, found)
  if (depth === 0 && level.startsWith('$')) return
  const plus = node.children.get('+')
  if (plus !== undefined) collect(plus, levels, depth + 1, found)
  // Asked only where a level is left: for IoT Core "a/#" does not match "a".
  const hash = node.children.get('#')
  if (hash !== undefined) take(hash, found)
}

function take<E>(node: Node<E>, found: { entries: E[]; groups: ReadonlySet<E>[] }): void {
  found.entries.push(...node.entries)
  found.groups.push(...node.groups.values())
}
