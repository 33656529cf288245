import { parseConditions, type Condition } from './policy-condition'
import { list, object, PolicyError, show, strings } from './policy-syntax'

/** A policy document, checked and brought into one shape. */
export interface PolicyDocument {
  statements: Statement[]
  /** The document itself, as compact JSON. */
  source: string
}

export interface Statement {
  sid?: string
  effect: 'Allow' | 'Deny'
  action: Patterns
  resource: Patterns
  conditions: Condition[]
}

/** `not` is NotAction or NotResource. */
export interface Patterns {
  not: boolean
  patterns: string[]
}

const VERSION = '2012-10-17'
const STATEMENT_ELEMENTS = ['Sid', 'Effect', 'Action', 'NotAction', 'Resource', 'NotResource', 'Condition']

/** Throws PolicyError for a document that does not follow the grammar of an IoT policy. */
export function parsePolicyDocument(value: unknown): PolicyDocument {
  const document = object(value, '')
  knownElements(document, ['Version', 'Id', 'Statement'], '')
  if (document['Version'] !== VERSION) {
    throw new PolicyError('.Version', `must be "${VERSION}", it is ${show(document['Version'])}`)
  }
  const statements = list(document['Statement'])
  if (statements.length === 0) throw new PolicyError('.Statement', 'must hold at least one statement')
  return {
    statements: statements.map((s, i) => parseStatement(s, `.Statement[${i}]`)),
    source: JSON.stringify(value),
  }
}

function parseStatement(value: unknown, path: string): Statement {
  const statement = object(value, path)
  knownElements(statement, STATEMENT_ELEMENTS, path)
  const { Sid: sid, Effect: effect } = statement
  if (effect !== 'Allow' && effect !== 'Deny') {
    throw new PolicyError(`${path}.Effect`, `must be "Allow" or "Deny", it is ${show(effect)}`)
  }
  const action = patterns(statement, 'Action', path)
  for (const name of action.patterns) {
    // Of other services too: a policy of AWS may hold them, and they never match here.
    if (!/^(\*|[a-z0-9-]+:[a-z0-9*?]+)$/i.test(name)) {
      throw new PolicyError(
        `${path}.${action.not ? 'NotAction' : 'Action'}`,
        `"${name}" is not "*" or an action such as "iot:Connect"`,
      )
    }
  }
  const resource = patterns(statement, 'Resource', path)
  for (const name of resource.patterns) {
    if (name !== '*' && !name.startsWith('arn:')) {
      throw new PolicyError(
        `${path}.${resource.not ? 'NotResource' : 'Resource'}`,
        `"${name}" is neither "*" nor an ARN`,
      )
    }
  }
  const conditions = parseConditions(statement['Condition'], `${path}.Condition`)
  return { ...(typeof sid === 'string' && { sid }), effect, action, resource, conditions }
}

/** Exactly one of `<element>` and `Not<element>`. */
function patterns(statement: Record<string, unknown>, element: string, path: string): Patterns {
  const negated = `Not${element}`
  const not = negated in statement
  if (not === element in statement) {
    const problem = not ? 'the statement has both' : 'the statement has neither'
    throw new PolicyError(`${path}.${element}`, `must be there, or ${negated} in its place; ${problem}`)
  }
  const name = not ? negated : element
  return { not, patterns: strings(statement[name], `${path}.${name}`) }
}

function knownElements(value: Record<string, unknown>, known: string[], path: string): void {
  const unknown = Object.keys(value).find((key) => !known.includes(key))
  if (unknown !== undefined) throw new PolicyError(`${path}.${unknown}`, 'is not an element of an IoT policy')
}
