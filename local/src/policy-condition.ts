import { BlockList, isIP } from 'node:net'
import { compileGlob, matchesGlob, substitute, type Variables } from './glob'
import { object, PolicyError, strings } from './policy-syntax'

/** One operator on one key, such as `"StringEquals": { "aws:SourceIp": "…" }`. */
export interface Condition {
  operator: string
  negated: boolean
  /** How a key with several values is compared. */
  set: 'ForAllValues' | 'ForAnyValue' | undefined
  ifExists: boolean
  /** Lower case. */
  key: string
  values: string[]
}

/** The values of a request by lower-case condition key. */
export type ConditionContext = ReadonlyMap<string, readonly string[]>

type Test = (actual: string, wanted: string, variables: Variables) => boolean

const KEYS = ['iot:ConnectAttributes', 'iot:LastWillTopic', 'aws:SourceIp']

const equals: Test = (actual, wanted, variables) => actual === substitute(wanted, variables)
const equalsIgnoreCase: Test = (actual, wanted, variables) =>
  actual.toLowerCase() === substitute(wanted, variables)?.toLowerCase()
const like: Test = (actual, wanted, variables) => {
  const glob = compileGlob(wanted, variables)
  return glob !== undefined && matchesGlob(glob, actual)
}

const OPERATORS: Readonly<Record<string, { test: Test; negated: boolean }>> = {
  StringEquals: { test: equals, negated: false },
  StringNotEquals: { test: equals, negated: true },
  StringEqualsIgnoreCase: { test: equalsIgnoreCase, negated: false },
  StringNotEqualsIgnoreCase: { test: equalsIgnoreCase, negated: true },
  StringLike: { test: like, negated: false },
  StringNotLike: { test: like, negated: true },
  ArnEquals: { test: like, negated: false },
  ArnNotEquals: { test: like, negated: true },
  ArnLike: { test: like, negated: false },
  ArnNotLike: { test: like, negated: true },
  IpAddress: { test: inRange, negated: false },
  NotIpAddress: { test: inRange, negated: true },
}

/** Refuses what it could not judge: a condition that were skipped would grant or deny too much. */
export function parseConditions(value: unknown, path: string): Condition[] {
  if (value === undefined) return []
  return Object.entries(object(value, path)).flatMap(([operator, block]) => {
    const match = /^(?:(ForAllValues|ForAnyValue):)?(\w+?)(IfExists)?$/.exec(operator)
    const name = match?.[2] ?? ''
    if (!Object.hasOwn(OPERATORS, name)) {
      throw new PolicyError(
        `${path}.${operator}`,
        'is not a condition operator that the local endpoint knows',
      )
    }
    return Object.entries(object(block, `${path}.${operator}`)).map(([key, values]): Condition => {
      if (!KEYS.some((known) => known.toLowerCase() === key.toLowerCase())) {
        throw new PolicyError(
          `${path}.${operator}["${key}"]`,
          `is not a condition key that the local endpoint knows (${KEYS.join(', ')})`,
        )
      }
      return {
        operator: name,
        negated: OPERATORS[name]!.negated,
        set: match![1] as Condition['set'],
        ifExists: match![3] !== undefined,
        key: key.toLowerCase(),
        values: strings(values, `${path}.${operator}["${key}"]`),
      }
    })
  })
}

export function conditionHolds(
  condition: Condition,
  context: ConditionContext,
  variables: Variables,
): boolean {
  const { test } = OPERATORS[condition.operator]!
  const { negated, set } = condition
  const actual = context.get(condition.key)
  const holds = (value: string): boolean =>
    condition.values.some((wanted) => test(value, wanted, variables)) !== negated

  if (set === 'ForAllValues') return (actual ?? []).every(holds)
  if (set === 'ForAnyValue') return (actual ?? []).some(holds)
  if (actual === undefined || actual.length === 0) return condition.ifExists || negated
  return negated ? actual.every(holds) : actual.some(holds)
}

function inRange(actual: string, range: string): boolean {
  const [address = '', prefix] = range.split('/')
  const version = isIP(address)
  if (version === 0 || isIP(actual) === 0) return false
  const bits = prefix === undefined ? (version === 4 ? 32 : 128) : Number(prefix)
  if (!Number.isInteger(bits) || bits < 0 || bits > (version === 4 ? 32 : 128)) return false
  const block = new BlockList()
  block.addSubnet(address, bits, version === 4 ? 'ipv4' : 'ipv6')
  return block.check(actual, isIP(actual) === 4 ? 'ipv4' : 'ipv6')
}
