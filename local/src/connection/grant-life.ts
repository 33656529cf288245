import type { Authenticated } from '../authorizer/authorizer'
import type { ClientCertificate } from '../authorizer/authorizer-event'
import type { Choices } from '../choices'
import type { Clock, ClockTimer } from '../clock'
import type { ConnectRequest } from './connect-request'
import type { ConnectionEvent } from './connection'
import type { DisconnectReason } from '../events'
import { explainDecision, Policy, type Decision, type PolicyContext } from '../policy/policy'
import { NOT_AUTHORIZED_CODE } from './protocol-error'
import { NOT_AUTHORIZED, Refusal } from './refusal'

export interface GrantHolder {
  readonly clock: Clock
  readonly choices: Choices
  readonly region: string
  readonly accountId: string
  readonly request: ConnectRequest
  readonly sourceIp: string
  readonly certificate: ClientCertificate | undefined
  /** Asks the authorizer with what CONNECT brought; rejects with a Refusal. */
  authenticate(): Promise<Authenticated>
  end(reason: DisconnectReason, message: string, reasonCode?: number): void
  failUnexpectedly(error: unknown): void
  record(event: ConnectionEvent): void
}

/** What a connection may do, and for how long: its authorizer is asked again in time, and in the end the connection is cut. */
export class GrantLife {
  readonly #holder: GrantHolder
  readonly #authorizerName: string
  readonly #policyContext: PolicyContext
  #grant: Authenticated['grant']
  #policy: Policy
  #end: ClockTimer | undefined
  #refresh: ClockTimer | undefined
  #over = false

  constructor({ authorizerName, grant }: Authenticated, holder: GrantHolder) {
    const { region, accountId, sourceIp, certificate, request, choices } = holder
    const { clientId, protocolVersion, cleanStart, sessionExpirySeconds, will } = request
    this.#holder = holder
    this.#authorizerName = authorizerName
    this.#policyContext = {
      region,
      accountId,
      clientId,
      sourceIp,
      unconditionedConnect: choices.unconditionedConnect,
      persistent: protocolVersion === 3 ? !cleanStart : sessionExpirySeconds > 0,
      ...(will !== undefined && { willTopic: will.topic }),
      ...(certificate !== undefined && { certificate }),
    }
    this.#grant = grant
    this.#policy = new Policy(grant.policyDocuments, this.#policyContext)
  }

  /** The one that holds at the moment. */
  get policy(): Policy {
    return this.#policy
  }

  get principalId(): string {
    return this.#grant.principalId
  }

  /** Throws a Refusal unless the client may connect with its Will. */
  admit(): { decision: Decision; willDecision?: Decision } {
    const decision = this.#policy.connect()
    this.#require(decision, 'connect-denied')
    const { will } = this.#holder.request
    if (will === undefined) return { decision }
    const willDecision = this.#policy.publish(will.topic, will.retain)
    this.#require(willDecision, 'will-denied')
    return { decision, willDecision }
  }

  /** Counts from now on. */
  begin(): void {
    const { clock, choices, end } = this.#holder
    const { disconnectAfterInSeconds } = this.#grant
    // Set once: no refresh makes a connection live longer.
    this.#end = clock.setTimeout(() => {
      const { endOfLife5 } = choices
      end(
        'CUSTOMAUTH_TTL_EXPIRATION',
        `the connection is as old as disconnectAfterInSeconds allows, ${disconnectAfterInSeconds} s`,
        endOfLife5 === 'close' ? undefined : endOfLife5,
      )
    }, disconnectAfterInSeconds * 1000)
    this.#scheduleRefresh()
  }

  stop(): void {
    this.#over = true
    this.#end?.cancel()
    this.#refresh?.cancel()
  }

  #scheduleRefresh(): void {
    this.#refresh = this.#holder.clock.setTimeout(() => {
      this.#ask().catch((error: unknown) => this.#holder.failUnexpectedly(error))
    }, this.#grant.refreshAfterInSeconds * 1000)
  }

  async #ask(): Promise<void> {
    let answer: Authenticated
    try {
      answer = await this.#holder.authenticate()
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      return this.#fail(error.message)
    }
    // The client may have gone while its authorizer was thinking.
    if (this.#over) return
    this.#grant = answer.grant
    // Live subscriptions stay; what comes by them is judged by the new policy.
    this.#policy = new Policy(answer.grant.policyDocuments, this.#policyContext)
    const { principalId, refreshAfterInSeconds } = answer.grant
    const { record, request } = this.#holder
    const decision = this.#policy.connect()
    record({
      type: 'refreshed',
      clientId: request.clientId,
      authorizerName: this.#authorizerName,
      principalId,
      refreshAfterInSeconds,
      decision,
    })
    if (decision.allowed) this.#scheduleRefresh()
    else this.#fail(explainDecision(decision))
  }

  #fail(problem: string): void {
    if (this.#over) return
    const message = `authorizer "${this.#authorizerName}" was asked again after refreshAfterInSeconds: ${problem}`
    if (this.#holder.choices.failedRefresh === 'close') {
      return this.#holder.end('AUTH_ERROR', message, NOT_AUTHORIZED_CODE)
    }
    this.#holder.record({
      type: 'warning',
      message: `${message}; the choice failedRefresh keeps the connection`,
    })
    this.#scheduleRefresh()
  }

  #require(decision: Decision, rule: string): void {
    if (decision.allowed) return
    const message = `the policy of authorizer "${this.#authorizerName}": ${explainDecision(decision)}`
    throw new Refusal('policy', rule, message, NOT_AUTHORIZED, decision)
  }
}
