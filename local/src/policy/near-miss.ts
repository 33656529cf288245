import { compileGlob, matchesGlob, substitute, unresolvedVariable, type Variables } from './glob'
import type { Patterns, Statement } from './policy-document'

/** A statement under the name that decisions give it. */
export interface NamedStatement {
  name: string
  statement: Statement
}

export interface DeniedRequest {
  action: string
  /** `arn:aws:iot:<region>:<account>:`, and what follows it, such as `topic/a/b`. */
  arnPrefix: string
  resourceName: string
  variables: Variables
}

/** What probably went wrong where no statement allows a request: the one that comes nearest, and what it lacks. */
export function explainNearMiss(statements: readonly NamedStatement[], request: DeniedRequest): string {
  const { action, variables } = request
  const near = statements.filter(
    ({ statement }) => statement.effect === 'Allow' && covers(statement.action, action.toLowerCase()),
  )
  if (near.length === 0) return `none allows ${action} at all`
  for (const find of [elsewhere, otherKind, elsewhereAndOtherKind, unmetCondition]) {
    const found = near.map((one) => find(one, request)).find((text) => text !== undefined)
    if (found !== undefined) return found
  }
  for (const { name, statement } of near) {
    const variable = unresolved(statement, variables)
    if (variable !== undefined) {
      return `${name} would need a value for \${${variable}}, which this connection has not; without it the statement matches nothing`
    }
  }
  const { name, statement } = near[0]!
  const { not, patterns } = statement.resource
  const shown = patterns.slice(0, 2).map((pattern) => substitute(pattern, variables) ?? pattern)
  const more = patterns.length > shown.length ? ', …' : ''
  return `${name} allows ${action} on ${not ? 'everything but ' : ''}${shown.join(', ')}${more}`
}

type Finder = (candidate: NamedStatement, request: DeniedRequest) => string | undefined

const ARN = /^(arn:[^:]*:iot:[^:]*:[^:]*:)(.*)$/s

/** The right name, in another region or account. */
const elsewhere: Finder = ({ name, statement }, request) => {
  const { arnPrefix, variables } = request
  const pattern = matching(statement.resource, request, (prefix, rest) =>
    prefix === arnPrefix ? undefined : arnPrefix + rest,
  )
  const prefix = pattern && ARN.exec(substitute(pattern, variables) ?? pattern)![1]
  return prefix && `${name} allows it in ${prefix} but ${whereThisIs(arnPrefix)}`
}

/** `topic/` in place of `topicfilter/`, for instance. */
const otherKind: Finder = ({ name, statement }, request) => {
  const kind = kindOf(request.resourceName)
  const pattern = matching(statement.resource, request, (prefix, rest) =>
    kindOf(rest) === kind ? undefined : prefix + kind + rest.slice(rest.indexOf('/')),
  )
  return pattern && `${name} allows it on ${pattern}, but ${request.action} is judged on ${kind}/…`
}

const elsewhereAndOtherKind: Finder = ({ name, statement }, request) => {
  const kind = kindOf(request.resourceName)
  const pattern = matching(
    statement.resource,
    request,
    (_prefix, rest) => request.arnPrefix + kind + rest.slice(rest.indexOf('/')),
  )
  return (
    pattern &&
    `${name} allows it on ${pattern}, but ${request.action} is judged on ${kind}/…, and ${whereThisIs(request.arnPrefix)}`
  )
}

const unmetCondition: Finder = ({ name, statement }, { arnPrefix, resourceName, variables }) => {
  if (statement.conditions.length === 0) return undefined
  const matches = statement.resource.patterns.some((pattern) =>
    meets(pattern, arnPrefix + resourceName, variables),
  )
  if (matches === statement.resource.not) return undefined
  const keys = statement.conditions.map(({ operator, key }) => `${operator} ${key}`).join(', ')
  return `${name} would allow it, but its Condition does not hold (${keys})`
}

/** The pattern that would cover the request if its ARN were changed by `change`. */
function matching(
  { not, patterns }: Patterns,
  { arnPrefix, resourceName, variables }: DeniedRequest,
  change: (prefix: string, rest: string) => string | undefined,
): string | undefined {
  if (not) return undefined
  return patterns.find((pattern) => {
    const [, prefix, rest] = ARN.exec(pattern) ?? []
    if (prefix === undefined || !rest!.includes('/')) return false
    const changed = change(prefix, rest!)
    return changed !== undefined && meets(changed, arnPrefix + resourceName, variables)
  })
}

function unresolved({ resource, conditions }: Statement, variables: Variables): string | undefined {
  return [...resource.patterns, ...conditions.flatMap(({ values }) => values)]
    .map((text) => unresolvedVariable(text, variables))
    .find((name) => name !== undefined)
}

function meets(pattern: string, text: string, variables: Variables): boolean {
  const glob = compileGlob(pattern, variables)
  return glob !== undefined && matchesGlob(glob, text)
}

function covers({ not, patterns }: Patterns, action: string): boolean {
  return patterns.some((pattern) => meets(pattern.toLowerCase(), action, new Map())) !== not
}

/** For the author of a policy with ARNs of a real account. */
const whereThisIs = (arnPrefix: string): string =>
  `this endpoint is ${arnPrefix} (options region and accountId, --region and --account-id)`

const kindOf = (resourceName: string): string => resourceName.slice(0, resourceName.indexOf('/'))
