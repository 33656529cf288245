import { createPublicKey, type KeyObject } from 'node:crypto'
import {
  answerWarnings,
  validateAnswer,
  InvalidAnswer,
  type AuthorizerAnswer,
  type Grant,
} from './authorizer-answer'
import { createAuthorizerEvent, type AuthorizerEvent, type AuthorizerRequest } from './authorizer-event'
import type { Choices } from '../choices'
import type { Clock } from '../clock'
import { createHandler, type HandlerSource } from '../handler/create-handler'
import type { Journal } from '../events'
import { HandlerFault, HandlerTimeout, invoke, type Handler } from '../handler/handler'
import { HandlerJournal, shortenStack } from '../handler/handler-journal'
import type { Limits } from '../limits'
import { notify } from '../handler/notify'
import { isObject, meantOption, unknownMembers } from '../options'
import { Recording } from '../recording'
import { Refusal } from '../connection/refusal'
import { shorten } from '../shorten'
import { checkSignature } from './signature'
import { Credentials } from './credentials'
import { Secrets } from './secrets'
import { AUTHORIZER_NAME, AUTHORIZER_SIGNATURE } from './user-name'

/** Of a client's choice; those that exist have at most 128 characters. */
const MAX_NAME_LENGTH = 300

/** An authorizer as `aws iot create-authorizer` takes it, with the function itself in place of its ARN. */
export interface Authorizer extends HandlerSource {
  /** The parameter that carries the token; required unless signing is disabled. */
  tokenKeyName?: string
  /** Key name -> PEM ("BEGIN PUBLIC KEY"); a token may be signed by any of them. */
  tokenSigningPublicKeys?: Record<string, string>
  signingDisabled?: boolean
  status?: 'ACTIVE' | 'INACTIVE'
}

/** One call of a handler. While it runs, neither `response` nor `error` is there. */
export interface HandlerInvocation {
  authorizer: string
  event: AuthorizerEvent
  /** What the handler answered, valid or not. */
  response?: unknown
  /** What the handler threw, or that it timed out. */
  error?: Error
}

export interface AuthorizersOptions {
  authorizers: Record<string, Authorizer>
  defaultAuthorizer: string | undefined
  region: string
  accountId: string
  limits: Limits
  choices: Choices
  clock: Clock
  journal: Journal
  onInvocation?: ((invocation: HandlerInvocation) => void) | undefined
}

/** What an authenticated connection goes on with. */
export interface Authenticated {
  authorizerName: string
  grant: Grant
}

/** The account's authorizers: finds the one that a request means, checks its token, asks its handler. */
export class Authorizers {
  readonly #options: AuthorizersOptions
  readonly #recording: Recording<HandlerInvocation>
  readonly #table: ReadonlyMap<string, Registered>

  constructor(options: AuthorizersOptions) {
    this.#options = options
    this.#recording = new Recording(options.limits)
    this.#table = new Map(
      Object.entries(options.authorizers).map(([name, a]) => [name, register(name, a, options)]),
    )
    const { defaultAuthorizer } = options
    if (defaultAuthorizer !== undefined && !this.#table.has(defaultAuthorizer)) {
      throw new TypeError(`defaultAuthorizer: there is no authorizer "${defaultAuthorizer}"`)
    }
  }

  get invocations(): readonly HandlerInvocation[] {
    return this.#recording.entries
  }

  /** Loads what there is to load; rejects, and leaves nothing running, if one handler cannot be used. */
  async start(): Promise<void> {
    const starts = [...this.#table.values()].map(({ handler }) => handler.start())
    const failed = (await Promise.allSettled(starts)).find(({ status }) => status === 'rejected')
    if (failed === undefined) return
    await this.close()
    throw (failed as PromiseRejectedResult).reason
  }

  async close(): Promise<void> {
    await Promise.all([...this.#table.values()].map(({ handler }) => handler.close()))
  }

  /** Resolves with a grant or rejects with a Refusal. */
  async authenticate(request: AuthorizerRequest): Promise<Authenticated> {
    const { choices } = this.#options
    const credentials = new Credentials(request, choices)
    const { name, authorizer } = this.#find(credentials.find(AUTHORIZER_NAME)?.value, request)
    const { tokenKeyName } = authorizer
    for (const key of [AUTHORIZER_NAME, AUTHORIZER_SIGNATURE, ...(tokenKeyName ? [tokenKeyName] : [])]) {
      const message = credentials.disagreement(key)
      if (message !== undefined) this.#warn(request, message)
    }
    const token = tokenKeyName === undefined ? undefined : credentials.find(tokenKeyName)?.value
    const signature = credentials.find(AUTHORIZER_SIGNATURE)
    if (!authorizer.signingDisabled && signature?.carrier === 'header' && signature.value.includes('%')) {
      const message = `authorizer "${name}": the signature in the header is percent-encoded; there it is sent raw`
      throw new Refusal('signature', 'signature-not-base64', message)
    }
    const tokenAsSent = (): string | undefined =>
      new Credentials(request, { ...choices, parameterDecoding: 'none' }).find(tokenKeyName!)?.value
    const signatureVerified = verifyToken(name, authorizer, token, signature?.value, tokenAsSent)
    const event = createAuthorizerEvent(request, token, signatureVerified)
    const answer = await this.#ask(name, authorizer, event)
    if (!answer.isAuthenticated) {
      throw new Refusal(
        'authorizer',
        'not-authenticated',
        `authorizer "${name}" answered isAuthenticated: false`,
      )
    }
    return { authorizerName: name, grant: answer }
  }

  /** Asks an authorizer without a connection: the token and its signature come as they are. */
  async test(
    named: string | undefined,
    token: string | undefined,
    signature: string | undefined,
    request: AuthorizerRequest,
  ): Promise<AuthorizerAnswer> {
    const { name, authorizer } = this.#find(named, request)
    const signatureVerified = verifyToken(name, authorizer, token, signature)
    return this.#ask(name, authorizer, createAuthorizerEvent(request, token, signatureVerified))
  }

  #warn({ connectionId, mqtt }: AuthorizerRequest, message: string): void {
    const clientId = mqtt?.clientId
    const { journal } = this.#options
    journal.record({ type: 'warning', connectionId, ...(clientId !== undefined && { clientId }), message })
  }

  #find(
    named: string | undefined,
    { domain, serverName, http }: AuthorizerRequest,
  ): { name: string; authorizer: Registered } {
    const fallback = domain?.defaultAuthorizer ?? this.#options.defaultAuthorizer
    const name = named || fallback
    const known = [...this.#table.keys()].join(', ')
    if (name === undefined) {
      const elsewhere = http === undefined ? '' : ', nor have the query string and the headers'
      throw new Refusal(
        'authorizer',
        'no-authorizer',
        `the user name has no parameter ${AUTHORIZER_NAME} after its last "?"${elsewhere}, and no default authorizer is set`,
      )
    }
    if (domain?.allowAuthorizerOverride === false && name !== fallback) {
      throw new Refusal(
        'authorizer',
        'authorizer-override',
        `the client names authorizer "${shorten(name, MAX_NAME_LENGTH)}", but the domain ${serverName === undefined ? '' : `"${serverName}" `}` +
          `allows none but its default "${fallback}" (allowAuthorizerOverride: false)`,
      )
    }
    const authorizer = this.#table.get(name)
    if (authorizer === undefined) {
      throw new Refusal(
        'authorizer',
        'unknown-authorizer',
        `there is no authorizer "${shorten(name, MAX_NAME_LENGTH)}" (known: ${known})`,
      )
    }
    if (authorizer.status === 'INACTIVE') {
      throw new Refusal('authorizer', 'authorizer-inactive', `authorizer "${name}" is INACTIVE`)
    }
    return { name, authorizer }
  }

  async #ask(name: string, authorizer: Registered, event: AuthorizerEvent): Promise<AuthorizerAnswer> {
    const { region, accountId, limits, clock, journal } = this.#options
    const invocation: HandlerInvocation = { authorizer: name, event }
    this.#recording.append(invocation)
    const tell = (): void => notify(this.#options.onInvocation, invocation)
    const end = (outcome: Pick<HandlerInvocation, 'response' | 'error'>): void => {
      this.#recording.update(Object.assign(invocation, outcome))
      tell()
    }
    tell()
    const { journal: handlerJournal } = authorizer
    const about = {
      connectionId: event.connectionMetadata.id,
      ...(event.protocolData.mqtt?.clientId !== undefined && { clientId: event.protocolData.mqtt.clientId }),
      authorizerName: name,
    }
    const secrets = new Secrets(event)
    const hide = (text: string): string => secrets.hide(text)
    const record = (outcome: 'authenticated' | 'denied' | 'failed', failure: Partial<Failure> = {}): void =>
      journal.record({
        type: 'authorizer-answered',
        ...about,
        signatureVerified: event.signatureVerified,
        outcome,
        ...failure,
      })

    try {
      const log = handlerJournal.callLog(about, hide)
      const timeoutMs = limits.handlerTimeoutMs
      const call = { name, region, accountId, timeoutMs, clock, log }
      const response = await invoke(authorizer.handler, event, call)
      end({ response })
      const answer = validateAnswer(response, event.protocolData.tls?.principalId)
      for (const warning of answerWarnings(response)) {
        handlerJournal.warnOnce(hide(`authorizer "${name}": ${warning}`), about)
      }
      record(answer.isAuthenticated ? 'authenticated' : 'denied')
      return answer
    } catch (error) {
      const { rule, message: described, stack } = describe(error as Error)
      const message = hide(described) + missingInput(described, event)
      if (!(error instanceof InvalidAnswer)) end({ error: error as Error })
      record('failed', { rule, message, ...(stack !== undefined && { stack: shortenStack(hide(stack)) }) })
      throw new Refusal('authorizer', rule, `authorizer "${name}": ${message}`)
    }
  }
}

interface Registered {
  handler: Handler
  journal: HandlerJournal
  tokenKeyName: string | undefined
  keys: ReadonlyMap<string, KeyObject>
  signingDisabled: boolean
  status: 'ACTIVE' | 'INACTIVE'
}

function register(name: string, authorizer: Authorizer, options: AuthorizersOptions): Registered {
  if (!isObject(authorizer as unknown))
    throw new TypeError(`authorizers["${name}"] must be an object with a handler`)
  const { tokenKeyName, tokenSigningPublicKeys = {}, signingDisabled = false, status = 'ACTIVE' } = authorizer
  const unknown = unknownMembers(authorizer)
  const check = (valid: boolean, problem: string): void => {
    if (!valid) throw new TypeError(`authorizers["${name}"]: ${problem}`)
  }
  check(/^[\w=,@-]{1,128}$/.test(name), 'a name is 1 to 128 letters, digits or "_=,@-"')
  for (const member of unknown) {
    const meant = meantOption(member)
    check(meant === undefined, `there is no option "${member}"; did you mean ${meant}?`)
  }
  const journal = new HandlerJournal(name, options.journal)
  const handler = newHandler(name, authorizer, options, journal)
  check(status === 'ACTIVE' || status === 'INACTIVE', 'status must be "ACTIVE" or "INACTIVE"')
  if (tokenKeyName !== undefined) {
    check(/^[a-zA-Z0-9_-]{1,128}$/.test(tokenKeyName), 'tokenKeyName is 1 to 128 letters, digits, "_" or "-"')
  }
  const keys = new Map<string, KeyObject>()
  for (const [keyName, pem] of Object.entries(tokenSigningPublicKeys)) {
    check(/^[a-zA-Z0-9:_-]{1,128}$/.test(keyName), `"${keyName}" is no valid name of a key`)
    keys.set(keyName, readPublicKey(pem, `authorizers["${name}"].tokenSigningPublicKeys["${keyName}"]`))
  }
  if (!signingDisabled) {
    check(
      tokenKeyName !== undefined && keys.size > 0,
      'needs tokenKeyName and tokenSigningPublicKeys, or signingDisabled' +
        (unknown.length > 0 ? ` (no options: ${unknown.join(', ')})` : ''),
    )
  }
  return { handler, journal, tokenKeyName, keys, signingDisabled, status }
}

function newHandler(
  name: string,
  authorizer: Authorizer,
  { region, accountId }: AuthorizersOptions,
  journal: HandlerJournal,
): Handler {
  try {
    return createHandler(authorizer, {
      name,
      region,
      accountId,
      log: (stream, text) => journal.output(stream, text),
      onReload: (files) => journal.reloaded(files),
      onWarning: (message, stack) => journal.warn(message, stack),
    })
  } catch (error) {
    throw new TypeError(`authorizers["${name}"]: ${(error as Error).message}`, { cause: error })
  }
}

function readPublicKey(pem: string, where: string): KeyObject {
  if (typeof pem !== 'string' || !pem.includes('-----BEGIN PUBLIC KEY-----')) {
    throw new TypeError(`${where} must be a PEM that begins with -----BEGIN PUBLIC KEY-----`)
  }
  const key = createPublicKey(pem)
  if (key.asymmetricKeyType !== 'rsa' || (key.asymmetricKeyDetails?.modulusLength ?? 0) < 2048) {
    throw new TypeError(`${where} must be an RSA key of at least 2048 bits`)
  }
  return key
}

/** True if the token's signature was verified, false if the authorizer wants none; refuses otherwise. */
function verifyToken(
  name: string,
  authorizer: Registered,
  token: string | undefined,
  signature: string | undefined,
  tokenAsSent: () => string | undefined = () => token,
): boolean {
  if (authorizer.signingDisabled) return false
  if (token === undefined) {
    throw new Refusal(
      'signature',
      'token-missing',
      `authorizer "${name}" wants a signed token, and there is no parameter "${authorizer.tokenKeyName}"`,
    )
  }
  const check = checkSignature(token, signature, authorizer.keys)
  if (check.verified) return true
  const undecoded = tokenAsSent()
  const encoding =
    undecoded !== undefined &&
    undecoded !== token &&
    checkSignature(undecoded, signature, authorizer.keys).verified
      ? '. It is one of the token as it was sent: percent-encode the token ("+" is %2B, "%" is %25), since it is decoded before it is verified'
      : ''
  throw new Refusal('signature', check.rule, `authorizer "${name}": ${check.message}${encoding}`)
}

/** What a handler stumbles over that takes for granted what the client did not send. */
function missingInput(message: string, { protocolData: { mqtt } }: AuthorizerEvent): string {
  if (mqtt === undefined || !/undefined|null/.test(message)) return ''
  const missing = (['username', 'password', 'clientId'] as const).filter((name) => mqtt[name] === undefined)
  if (missing.length === 0) return ''
  return ` (the event has no ${missing.map((name) => `protocolData.mqtt.${name}`).join(', ')}: the client sent none)`
}

interface Failure {
  rule: string
  message: string
  stack?: string
}

function describe(error: Error): Failure {
  if (error instanceof InvalidAnswer) return { rule: error.rule, message: error.message }
  if (error instanceof HandlerTimeout) {
    return {
      rule: 'handler-timeout',
      message: `${error.message} (limits.handlerTimeoutMs; IoT Core allows 5 s)`,
    }
  }
  if (error instanceof HandlerFault) return { rule: error.rule, message: error.message }
  const stack = error.stack === undefined ? {} : { stack: error.stack }
  return { rule: 'handler-error', message: `the handler failed: ${error.message}`, ...stack }
}
