/** A packet as faults name it: MQTT's own name in small letters. */
export type PacketKind = keyof typeof DIRECTIONS

/** `in` is from the client to the endpoint. */
export type FaultDirection = 'in' | 'out'

/**
 * What goes wrong, and when: plain data. The first fault that fits a packet is applied to it, in the order in which
 * the faults were added; the others do not count that packet.
 */
export interface Fault {
  /** The packet that sets it off. */
  on: PacketKind | 'any'
  /** For a packet that goes both ways; without it, either way. */
  direction?: FaultDirection
  /** Only on connections with this client id. */
  clientId?: string | RegExp
  /** Only for PUBLISH, SUBSCRIBE and UNSUBSCRIBE: a topic filter that the packet's topic, or one of its filters, fits. */
  topic?: string
  /** So many packets that fit go by unharmed first. */
  skip?: number
  /** How often it is applied; without it, always. */
  times?: number
  do: FaultAction
}

/**
 * What happens to the packet. `delayMs` keeps the order: what follows a delayed packet in its direction waits behind
 * it. Everything but `delayMs`, `duplicate`, `hold` and `throttle` happens in place of the packet.
 */
export type FaultAction =
  | { delayMs: number }
  | ({ delayMs?: number } & (
      | { close: true }
      | { reset: true }
      | { disconnect: number; reason?: string }
      | { connack: number }
      | { halfOpen: true }
      | { corrupt: true }
      | { duplicate: true | Redelivery }
    ))
  | { drop: true }
  | { hold: 'until-next' | PacketKind }
  | { throttle: { bytesPerSecond: number } }

/** How the second PUBLISH differs from the first. */
export interface Redelivery {
  newPacketId: boolean
  dup: boolean
}

/** `delay` is a fault with nothing but `delayMs`. */
export type FaultActionName = 'delay' | 'drop' | 'hold' | 'throttle' | DelayableAction

type DelayableAction = (typeof DELAYABLE)[number]

/** A fault that was found to make sense. */
export interface FaultPlan {
  on: PacketKind | 'any'
  directions: readonly FaultDirection[]
  clientId?: string | RegExp
  topic?: string
  skip: number
  times: number
  action: FaultActionName
  delayMs: number
  /** All of `do`; only the members that belong to `action` are there. */
  details: FaultDetails
}

export interface FaultDetails {
  disconnect?: number
  reason?: string
  connack?: number
  duplicate?: true | Redelivery
  hold?: 'until-next' | PacketKind
  throttle?: { bytesPerSecond: number }
}

/** Throws a TypeError that says what is wrong and what is possible; `name` is what to call the fault. */
export function planFault(fault: Fault, name = 'fault'): FaultPlan {
  const fail: Fail = (message) => {
    throw new TypeError(`${name}: ${message}`)
  }
  requireMembers(fault, MEMBERS, fail)
  const { on, clientId, topic, skip = 0, times = Infinity } = fault
  if (on !== 'any' && !Object.hasOwn(DIRECTIONS, on)) {
    fail(`on is ${show(on)}; it is one of: any, ${PACKET_KINDS.join(', ')}`)
  }
  if (clientId !== undefined && typeof clientId !== 'string' && !(clientId instanceof RegExp)) {
    fail(`clientId is ${show(clientId)}; it is a string or a RegExp`)
  }
  if (topic !== undefined) {
    if (typeof topic !== 'string') fail(`topic is ${show(topic)}; it is a topic filter`)
    if (!WITH_TOPIC.includes(on)) fail(`${on} has no topic; those that have one: ${WITH_TOPIC.join(', ')}`)
  }
  requireWhole(skip, 0, Number.MAX_SAFE_INTEGER, 'skip', fail)
  if (times !== Infinity) requireWhole(times, 1, Number.MAX_SAFE_INTEGER, 'times', fail)
  const directions = planDirections(fault, fail)
  const { action, delayMs } = planAction(fault, directions, fail)
  return {
    on,
    directions: isNewId(fault.do) ? ['out'] : directions,
    // Without the flags that make a RegExp remember where it was.
    ...(clientId !== undefined && {
      clientId:
        typeof clientId === 'string' ? clientId : new RegExp(clientId, clientId.flags.replace(/[gy]/g, '')),
    }),
    ...(topic !== undefined && { topic }),
    skip,
    times,
    action,
    delayMs,
    details: structuredClone(fault.do) as FaultDetails,
  }
}

/** Whole number, 0 to 255: what fits in the byte of a reason code. */
export function requireCode(value: unknown, name: string, smallest = 0): asserts value is number {
  requireWhole(value, smallest, 255, name, (message) => {
    throw new TypeError(message)
  })
}

type Fail = (message: string) => never

const IN: readonly FaultDirection[] = ['in']
const OUT: readonly FaultDirection[] = ['out']
const BOTH: readonly FaultDirection[] = ['in', 'out']

const DIRECTIONS = {
  connect: IN,
  connack: OUT,
  publish: BOTH,
  puback: BOTH,
  // QoS 2 comes from clients only: IoT Core never answers it.
  pubrec: IN,
  pubrel: IN,
  pubcomp: IN,
  subscribe: IN,
  suback: OUT,
  unsubscribe: IN,
  unsuback: OUT,
  pingreq: IN,
  pingresp: OUT,
  disconnect: BOTH,
  auth: IN,
}
const PACKET_KINDS = Object.keys(DIRECTIONS)

const MEMBERS = ['on', 'direction', 'clientId', 'topic', 'skip', 'times', 'do']
const WITH_TOPIC: readonly string[] = ['publish', 'subscribe', 'unsubscribe']
const DELAYABLE = ['close', 'reset', 'disconnect', 'connack', 'halfOpen', 'corrupt', 'duplicate'] as const
const ACTIONS: readonly string[] = ['delayMs', 'drop', 'hold', 'throttle', ...DELAYABLE]
/** A timer of Node takes no more. */
const MAX_DELAY_MS = 2 ** 31 - 1

function planDirections({ on, direction }: Fault, fail: Fail): readonly FaultDirection[] {
  const possible = on === 'any' ? BOTH : DIRECTIONS[on]
  if (direction === undefined) return possible
  if (direction !== 'in' && direction !== 'out') {
    fail(
      `direction is ${show(direction)}; it is "in" (from the client) or "out" (to the client), or is left out`,
    )
  }
  if (!possible.includes(direction)) fail(`${on} has only the direction "${possible[0]}"`)
  return [direction]
}

function planAction(
  fault: Fault,
  directions: readonly FaultDirection[],
  fail: Fail,
): { action: FaultActionName; delayMs: number } {
  requireMembers(fault.do, [...ACTIONS, 'reason'], fail, 'do')
  const given = fault.do as Record<string, unknown>
  const names = Object.keys(given).filter((name) => name !== 'delayMs' && name !== 'reason')
  const delayMs = given['delayMs'] ?? 0
  requireWhole(delayMs, 0, MAX_DELAY_MS, 'do.delayMs', fail)
  if (names.length === 0) {
    if (given['delayMs'] === undefined) fail(`do is empty; it is one of: ${ACTIONS.join(', ')}`)
    if ('reason' in given) fail('do.reason goes with disconnect')
    return { action: 'delay', delayMs }
  }
  if (names.length > 1) {
    fail(`do has ${names.join(' and ')}; it does one thing, and only delayMs may stand beside it`)
  }
  const action = names[0] as FaultActionName
  if (given['delayMs'] !== undefined && !(DELAYABLE as readonly string[]).includes(action)) {
    fail(`do has ${action} and delayMs; delayMs stands alone or beside one of: ${DELAYABLE.join(', ')}`)
  }
  checkDetails(fault, action, given, directions, fail)
  return { action, delayMs }
}

function checkDetails(
  { on, direction }: Fault,
  action: FaultActionName,
  given: Record<string, unknown>,
  directions: readonly FaultDirection[],
  fail: Fail,
): void {
  const value = given[action]
  if ('reason' in given) {
    if (action !== 'disconnect') fail('do.reason goes with disconnect')
    if (typeof given['reason'] !== 'string') fail(`do.reason is ${show(given['reason'])}; it is a string`)
  }
  switch (action) {
    case 'disconnect':
      return requireWhole(value, 0, 255, 'do.disconnect', fail)
    case 'connack':
      if (on !== 'connect' && on !== 'connack') fail('do.connack is possible on connect and on connack')
      return requireWhole(value, 1, 255, 'do.connack', fail)
    case 'hold':
      if (value === 'until-next') return
      if (!Object.hasOwn(DIRECTIONS, String(value))) {
        fail(`do.hold is ${show(value)}; it is "until-next" or one of: ${PACKET_KINDS.join(', ')}`)
      }
      if (!directions.some((way) => DIRECTIONS[value as PacketKind].includes(way))) {
        fail(`do.hold waits for ${String(value)}, which never goes the way of ${on}`)
      }
      return
    case 'throttle':
      requireMembers(value, ['bytesPerSecond'], fail, 'do.throttle')
      return requireWhole(
        (value as { bytesPerSecond: unknown }).bytesPerSecond,
        1,
        Number.MAX_SAFE_INTEGER,
        'do.throttle.bytesPerSecond',
        fail,
      )
    case 'duplicate': {
      if (value === true) return
      requireMembers(value, ['newPacketId', 'dup'], fail, 'do.duplicate')
      for (const [name, flag] of Object.entries(value as object)) {
        if (typeof flag !== 'boolean') fail(`do.duplicate.${name} is ${show(flag)}; it is true or false`)
      }
      if (on !== 'publish' || direction === 'in') {
        fail(
          'do.duplicate with newPacketId and dup is possible on publish, direction "out"; else do.duplicate is true',
        )
      }
      return
    }
    default:
      if (value !== true) fail(`do.${action} is ${show(value)}; it is true`)
  }
}

/** Only the endpoint's own PUBLISH can be sent again as another one. */
const isNewId = (action: FaultAction): boolean =>
  'duplicate' in action && typeof action.duplicate === 'object'

function requireMembers(value: unknown, known: readonly string[], fail: Fail, name?: string): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    fail(
      `${name === undefined ? 'it is' : `${name} is`} ${show(value)}; it is an object with ${known.join(', ')}`,
    )
  }
  const unknown = Object.keys(value).find((member) => !known.includes(member))
  if (unknown !== undefined) {
    const where = name === undefined ? '' : ` in ${name}`
    fail(`there is no member "${unknown}"${where}; the members are: ${known.join(', ')}`)
  }
}

function requireWhole(
  value: unknown,
  smallest: number,
  largest: number,
  name: string,
  fail: Fail,
): asserts value is number {
  if (Number.isInteger(value) && (value as number) >= smallest && (value as number) <= largest) return
  const range = largest === Number.MAX_SAFE_INTEGER ? `from ${smallest} on` : `from ${smallest} to ${largest}`
  fail(`${name} is ${show(value)}; it is a whole number ${range}`)
}

const show = (value: unknown): string =>
  typeof value === 'string'
    ? `"${value}"`
    : value === null
      ? 'null'
      : Array.isArray(value)
        ? 'a list'
        : typeof value === 'object'
          ? 'an object'
          : String(value)
