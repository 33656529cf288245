import type { ClientCertificate } from '../authorizer/authorizer-event'
import type { Choices } from '../choices'
import { certificateVariables } from './certificate-variables'
import { compileGlob, matchesGlob, type Glob, type Variables } from './glob'
import { conditionHolds, isResolved, type Condition, type ConditionContext } from './policy-condition'
import { explainNearMiss, type NamedStatement } from './near-miss'
import type { Patterns, PolicyDocument, Statement } from './policy-document'

export type PolicyAction =
  'iot:Connect' | 'iot:Publish' | 'iot:RetainPublish' | 'iot:Subscribe' | 'iot:Receive'

/** The outcome of evaluating a policy, and what decided. */
export interface Decision {
  allowed: boolean
  action: PolicyAction
  resource: string
  /** `implicit-deny`: no statement allows it. An explicit deny wins over every allow. */
  reason: 'allow' | 'explicit-deny' | 'implicit-deny'
  /** The statement that decided; missing for an implicit deny. */
  statement?: StatementId
  /** For an implicit deny: the statement that comes nearest, and what it lacks. */
  hint?: string
}

export interface StatementId {
  document: number
  index: number
  sid?: string
}

/** What policy variables and conditions are resolved from. */
export interface PolicyContext {
  region: string
  accountId: string
  clientId: string
  sourceIp: string
  persistent: boolean
  willTopic?: string
  /** On a domain with CUSTOM_AUTH_X509. */
  certificate?: ClientCertificate
  /** `everything` by default. */
  unconditionedConnect?: Choices['unconditionedConnect']
}

const CONNECT_ATTRIBUTES = 'iot:connectattributes'

/** The permissions of one connection. */
export class Policy {
  readonly #context: PolicyContext
  readonly #arnPrefix: string
  readonly #variables: Variables
  readonly #conditions: ConditionContext
  readonly #connectConditions: ConditionContext
  readonly #documents: readonly PolicyDocument[]
  readonly #statements: CompiledStatement[]
  // The same few topics come again and again. Bounded, because a client chooses its topics.
  readonly #cache = new Map<string, Decision>()

  constructor(documents: readonly PolicyDocument[], context: PolicyContext) {
    const { region, accountId, clientId, persistent, willTopic, certificate } = context
    const sourceIp = context.sourceIp.replace(/^::ffff:(?=\d+\.)/i, '') // IPv4 on a socket for both
    this.#context = context
    this.#arnPrefix = `arn:${partition(region)}:iot:${region}:${accountId}:`
    this.#variables = new Map([
      ['iot:clientid', clientId],
      ['aws:sourceip', sourceIp],
      ...(certificate === undefined ? [] : certificateVariables(certificate)),
    ])
    this.#conditions = new Map([...this.#variables].map(([name, value]) => [name, [value]]))
    const attributes = [persistent && 'PersistentConnect', willTopic !== undefined && 'LastWill']
    this.#connectConditions = new Map([
      ...this.#conditions,
      [CONNECT_ATTRIBUTES, attributes.filter((a) => a !== false)],
      ...(willTopic === undefined
        ? []
        : [['iot:lastwilltopic', [`${this.#arnPrefix}topic/${willTopic}`]] as const]),
    ])
    this.#documents = documents
    this.#statements = documents.flatMap((document, index) =>
      document.statements
        .map((statement, position) => this.#compile(statement, index, position))
        .filter((statement) => statement !== undefined),
    )
  }

  connect(): Decision {
    return this.#decide('iot:Connect', `client/${this.#context.clientId}`)
  }

  /** The denial that counts, or the permission. A retained message needs iot:RetainPublish as well. */
  publish(topic: string, retain: boolean): Decision {
    const decision = this.#decide('iot:Publish', `topic/${topic}`)
    return decision.allowed && retain ? this.#decide('iot:RetainPublish', `topic/${topic}`) : decision
  }

  /** The filter is compared as it was written: "+", "#" and "$share" are plain characters. */
  subscribe(filter: string): Decision {
    return this.#decide('iot:Subscribe', `topicfilter/${filter}`)
  }

  receive(topic: string): Decision {
    return this.#decide('iot:Receive', `topic/${topic}`)
  }

  #decide(action: PolicyAction, name: string): Decision {
    const key = `${action} ${name}`
    let decision = this.#cache.get(key)
    if (decision === undefined) {
      decision = this.#evaluate(action, name)
      if (this.#cache.size >= 256) this.#cache.clear()
      this.#cache.set(key, decision)
    }
    return decision
  }

  #evaluate(action: PolicyAction, resourceName: string): Decision {
    const resource = this.#arnPrefix + resourceName
    const conditions = action === 'iot:Connect' ? this.#connectConditions : this.#conditions
    let allow: CompiledStatement | undefined
    let lacking: CompiledStatement | undefined
    for (const statement of this.#statements) {
      if (statement.effect === 'Allow' && allow !== undefined) continue
      if (!this.#applies(statement, action, resource, conditions)) continue
      if (statement.effect === 'Deny') {
        return { allowed: false, action, resource, reason: 'explicit-deny', statement: statement.id }
      }
      if (this.#lacksAttributes(statement, action)) lacking = statement
      else allow = statement
    }
    if (allow !== undefined) return { allowed: true, action, resource, reason: 'allow', statement: allow.id }
    const request = { action, arnPrefix: this.#arnPrefix, resourceName, variables: this.#variables }
    const hint =
      lacking === undefined
        ? explainNearMiss(this.#namedStatements(), request)
        : `${nameStatement(lacking.id)} allows it without a persistent session and a Will alone (choices.unconditionedConnect)`
    return { allowed: false, action, resource, reason: 'implicit-deny', hint }
  }

  #namedStatements(): NamedStatement[] {
    return this.#documents.flatMap(({ statements }, document) =>
      statements.map((statement, index) => ({ name: nameStatement({ document, index }), statement })),
    )
  }

  #applies(
    statement: CompiledStatement,
    action: PolicyAction,
    resource: string,
    conditions: ConditionContext,
  ): boolean {
    return (
      covers(statement.action, action.toLowerCase()) &&
      covers(statement.resource, resource) &&
      statement.conditions.every((condition) => conditionHolds(condition, conditions, this.#variables))
    )
  }

  /** A persistent session and a Will may have to be allowed by name. */
  #lacksAttributes({ effect, conditions }: CompiledStatement, action: PolicyAction): boolean {
    const { persistent, willTopic, unconditionedConnect } = this.#context
    if (unconditionedConnect !== 'non-persistent' || action !== 'iot:Connect' || effect === 'Deny')
      return false
    if (!persistent && willTopic === undefined) return false
    return conditions.every(({ key }) => key !== CONNECT_ATTRIBUTES)
  }

  /** Undefined for a statement with a variable that has no value: it matches nothing, an Allow as a Deny. */
  #compile(statement: Statement, document: number, index: number): CompiledStatement | undefined {
    const { action, resource, effect, conditions, sid } = statement
    const lowerCase = { not: action.not, patterns: action.patterns.map((name) => name.toLowerCase()) }
    const resources = compilePatterns(resource, this.#variables)
    if (resources === undefined || !conditions.every((c) => isResolved(c, this.#variables))) return undefined
    return {
      id: { document, index, ...(sid !== undefined && { sid }) },
      effect,
      action: compilePatterns(lowerCase, new Map())!,
      resource: resources,
      conditions,
    }
  }
}

/** One line for people: which statement decided, or that none did. */
export function explainDecision({ allowed, action, resource, reason, statement, hint }: Decision): string {
  const verdict = `${action} on ${resource} is ${allowed ? 'allowed' : 'denied'}`
  if (statement === undefined) {
    return `${verdict}: no statement allows it${hint === undefined ? '' : `; ${hint}`}`
  }
  const sid = statement.sid === undefined ? '' : ` ("${statement.sid}")`
  return `${verdict} by ${nameStatement(statement)}${sid}${reason === 'explicit-deny' ? ', an explicit Deny' : ''}`
}

const nameStatement = ({ document, index }: StatementId): string =>
  `policyDocuments[${document}].Statement[${index}]`

interface CompiledStatement {
  id: StatementId
  effect: 'Allow' | 'Deny'
  action: CompiledPatterns
  resource: CompiledPatterns
  conditions: Condition[]
}

interface CompiledPatterns {
  not: boolean
  globs: Glob[]
}

/** Undefined if one of the patterns uses a variable that has no value. */
function compilePatterns({ not, patterns }: Patterns, variables: Variables): CompiledPatterns | undefined {
  const globs: Glob[] = []
  for (const pattern of patterns) {
    const glob = compileGlob(pattern, variables)
    if (glob === undefined) return undefined
    globs.push(glob)
  }
  return { not, globs }
}

function covers(patterns: CompiledPatterns, text: string): boolean {
  return patterns.globs.some((glob) => matchesGlob(glob, text)) !== patterns.not
}

function partition(region: string): string {
  if (region.startsWith('cn-')) return 'aws-cn'
  if (region.startsWith('us-gov-')) return 'aws-us-gov'
  return 'aws'
}
