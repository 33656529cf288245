import type { Limits } from '../limits'

export interface SharedFilter {
  shareName: string
  filter: string
}

/** Basic ingest: `$aws/rules/<rule>/` can be published to, costs no length, and reaches no subscriber. */
export function isBasicIngest(topic: string): boolean {
  return topic.startsWith('$aws/rules/')
}

/** What is wrong with keeping a message under `topic`, or undefined. */
export function retainProblem(topic: string): string | undefined {
  return topic.startsWith('$') ? 'a message on a reserved topic cannot be retained' : undefined
}

/** What is wrong with `topic` as the topic of a PUBLISH, or undefined. */
export function topicProblem(topic: string, limits: Limits): string | undefined {
  const counted = topic.replace(BASIC_INGEST, '')
  if (counted === '') return 'the topic is empty'
  if (/[+#]/.test(topic)) return 'a topic that is published to must not contain "+" or "#"'
  if (topic.startsWith('$')) {
    const service = reservedService(topic)
    if (service === undefined) return RESERVED
    if (service === 'events') return 'IoT Core alone publishes to "$aws/events/"'
  }
  return lengthProblem(topic, counted, limits)
}

/** What is wrong with `filter` (after `$share/<name>/` was cut off) in a SUBSCRIBE, or undefined. */
export function filterProblem(filter: string, limits: Limits): string | undefined {
  if (filter === '') return 'the topic filter is empty'
  const levels = filter.split('/')
  for (const [index, level] of levels.entries()) {
    if (level.includes('#') && (level !== '#' || index !== levels.length - 1)) {
      return '"#" must be the whole last level of a topic filter'
    }
    if (level.includes('+') && level !== '+') return '"+" must be a whole level of a topic filter'
  }
  if (filter.startsWith('$')) {
    const service = reservedService(filter)
    if (service === undefined) return RESERVED
    if (service === 'rules') return 'Basic Ingest topics ("$aws/rules/") can only be published to'
  }
  return lengthProblem(filter, filter, limits)
}

/** The parts of `$share/<name>/<filter>`; undefined for a filter that is not shared. */
export function parseSharedFilter(text: string): SharedFilter | undefined {
  if (!text.startsWith('$share/')) return undefined
  const slash = text.indexOf('/', 7)
  if (slash < 0) return { shareName: text.slice(7), filter: '' }
  return { shareName: text.slice(7, slash), filter: text.slice(slash + 1) }
}

export function shareNameProblem(name: string, limits: Limits): string | undefined {
  if (name === '' || /[+#]/.test(name)) return 'a share name must not be empty nor contain "+" or "#"'
  if (name.length > limits.shareNameLength)
    return `a share name has at most ${limits.shareNameLength} characters`
  return undefined
}

export const hasWildcard = (filter: string): boolean => /[+#]/.test(filter)

/** A rule's name has at most 128 characters; a longer one counts. */
const BASIC_INGEST = /^\$aws\/rules\/[^/]{1,128}\//

/**
 * What may follow "$aws/": the reserved topics that AWS documents. No service answers behind them here; they carry
 * messages as other topics do, so that a test can play the service.
 */
const RESERVED_SERVICES = new Set([
  'certificates',
  'commands',
  'device_location',
  'events',
  'provisioning-templates',
  'rules',
  'sitewise',
  'things',
])

const RESERVED = `topics that start with "$" are reserved; of them there are "$aws/" followed by ${[...RESERVED_SERVICES].join(', ')}`

/** The second level of `$aws/<service>/<more>`; a wildcard there is as good as a documented one. */
function reservedService(text: string): string | undefined {
  const [root, service = '', ...more] = text.split('/')
  if (root !== '$aws') return undefined
  if (service === '#' || (service === '+' && more.length > 0)) return service
  return RESERVED_SERVICES.has(service) && more.some((level) => level !== '') ? service : undefined
}

function lengthProblem(text: string, counted: string, limits: Limits): string | undefined {
  if (text.includes('\0')) return 'a topic must not contain U+0000'
  const bytes = Buffer.byteLength(counted)
  if (bytes > limits.topicBytes) {
    return `a topic has at most ${limits.topicBytes} bytes of UTF-8, this one has ${bytes}`
  }
  const slashes = counted.split('/').length - 1
  if (slashes > limits.topicSlashes) {
    return `a topic has at most ${limits.topicSlashes} slashes, this one has ${slashes}`
  }
  return undefined
}
