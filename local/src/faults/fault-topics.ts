import type { Packet } from 'mqtt-packet'

/** The topics that the packets of one connection are about. */
export class PacketTopics {
  readonly #aliasLimit: number
  readonly #aliases = new Map<number, string>()

  constructor(aliasLimit: number) {
    this.#aliasLimit = aliasLimit
  }

  /** Of PUBLISH the topic that it has or stands for, of SUBSCRIBE and UNSUBSCRIBE the filters. */
  of(packet: Packet): readonly string[] {
    if (packet.cmd === 'subscribe') return packet.subscriptions.map(({ topic }) => topic)
    if (packet.cmd === 'unsubscribe') return packet.unsubscriptions
    if (packet.cmd !== 'publish') return []
    const { topic, properties } = packet
    // From a client nobody has checked yet: the parser yields a list for a property that occurs twice.
    const alias: unknown = properties?.topicAlias
    if (typeof alias !== 'number' || alias < 1 || alias > this.#aliasLimit) return [topic]
    if (topic !== '') this.#aliases.set(alias, topic)
    return [topic || (this.#aliases.get(alias) ?? '')]
  }
}

/** IoT Core's reading of a filter: `a/#` does not fit `a`. */
export function fitsFilter(filter: string, topic: string): boolean {
  const wanted = filter.split('/')
  const given = topic.split('/')
  for (const [index, level] of wanted.entries()) {
    if (index >= given.length) return false
    if (level === '#') return true
    if (level !== '+' && level !== given[index]) return false
  }
  return wanted.length === given.length
}
