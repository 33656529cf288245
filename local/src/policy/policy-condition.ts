import { isCertificateKey } from './certificate-variables'
import { OPERATORS, type Operator } from './policy-operator'
import { object, PolicyError, strings } from './policy-syntax'
import { hasValues, type Variables } from './glob'

/** One operator on one key, such as `"StringEquals": { "aws:SourceIp": "…" }`. */
export interface Condition {
  operator: string
  /** How a key with several values is compared. */
  set: 'ForAllValues' | 'ForAnyValue' | undefined
  ifExists: boolean
  /** Lower case. */
  key: string
  values: string[]
}

/** The values of a request by lower-case condition key. */
export type ConditionContext = ReadonlyMap<string, readonly string[]>

/** Those that the guide shows in IoT policies, beside those of certificates and things. */
const KEYS = ['iot:ClientId', 'iot:ConnectAttributes', 'iot:LastWillTopic', 'aws:SourceIp']
/** Of no connection here has one a value: no certificate and no client has a thing. */
const THING_KEY = /^iot:Connection\.Thing\.(ThingName|ThingTypeName|IsAttached|Attributes\[[^\]]+\])$/i

/** Refuses what it could not judge: a condition that were skipped would grant or deny too much. */
export function parseConditions(value: unknown, path: string): Condition[] {
  if (value === undefined) return []
  return Object.entries(object(value, path)).flatMap(([operator, block]) => {
    const here = `${path}.${operator}`
    const match = /^(?:(ForAllValues|ForAnyValue):)?(\w+?)(IfExists)?$/.exec(operator)
    const name = match?.[2] ?? ''
    const known = name === 'Null' ? match![0] === 'Null' : Object.hasOwn(OPERATORS, name)
    if (!known) {
      const names = ['Null', ...Object.keys(OPERATORS)].join(', ')
      throw new PolicyError(here, `is not a condition operator; there are ${names}`)
    }
    return Object.entries(object(block, here)).map(([key, given]): Condition => {
      const place = `${here}["${key}"]`
      if (!isKnown(key)) {
        throw new PolicyError(
          place,
          `is not a condition key that the local endpoint knows (${KEYS.join(', ')})`,
        )
      }
      const values = strings(asText(given), place)
      const problem = values.map((text) => operatorOf(name).problem?.(text)).find((p) => p !== undefined)
      if (problem !== undefined) throw new PolicyError(place, problem)
      return {
        operator: name,
        set: match![1] as Condition['set'],
        ifExists: match![3] !== undefined,
        key: key.toLowerCase(),
        values,
      }
    })
  })
}

/** Whether every policy variable of the condition has a value; without, its statement matches nothing. */
export const isResolved = ({ operator, values }: Condition, variables: Variables): boolean =>
  operatorOf(operator).variables !== true || values.every((value) => hasValues(value, variables))

export function conditionHolds(
  condition: Condition,
  context: ConditionContext,
  variables: Variables,
): boolean {
  const { operator, set, ifExists, key, values } = condition
  const actual = context.get(key) ?? []
  const missing = actual.length === 0
  if (operator === 'Null') return values.some((wanted) => missing === (wanted.toLowerCase() === 'true'))

  const { test, negated } = OPERATORS[operator]!
  const holds = (value: string): boolean =>
    values.some((wanted) => test(value, wanted, variables)) !== negated
  if (missing) return ifExists || (set === undefined ? negated : set === 'ForAllValues')
  if (set === 'ForAllValues') return actual.every(holds)
  if (set === 'ForAnyValue') return actual.some(holds)
  return negated ? actual.every(holds) : actual.some(holds)
}

/** `Null` asks whether the key is there, and so takes the values that Bool takes. */
const operatorOf = (name: string): Operator => OPERATORS[name === 'Null' ? 'Bool' : name]!

const isKnown = (key: string): boolean =>
  KEYS.some((one) => one.toLowerCase() === key.toLowerCase()) || THING_KEY.test(key) || isCertificateKey(key)

/** Numbers and booleans may stand in a policy without quotation marks. */
function asText(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(asText)
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : value
}
