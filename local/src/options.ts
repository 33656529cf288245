const EXAMPLE = 'startLocalEndpoint({ authorizers: { MyAuthorizer: { handler, signingDisabled: true } } })'

/** Throws where the options are no object, have no authorizers, or hold a name that does not exist. */
export function checkOptions(options: unknown): void {
  if (!isObject(options)) throw new TypeError(`options are missing: ${EXAMPLE}`)
  for (const name of Object.keys(options)) {
    if (!OPTIONS.includes(name)) {
      throw new TypeError(`there is no option "${name}"; the options are: ${OPTIONS.join(', ')}`)
    }
  }
  if (!isObject(options['authorizers'])) {
    throw new TypeError(`authorizers must be an object, name -> authorizer: ${EXAMPLE}`)
  }
}

const OPTIONS = [
  'authorizers',
  'defaultAuthorizer',
  'domains',
  'port',
  'host',
  'hostNames',
  'region',
  'accountId',
  'profile',
  'limits',
  'choices',
  'clock',
  'faults',
  'log',
  'onInvocation',
]

const AUTHORIZER_OPTIONS = [
  'handler',
  'module',
  'lambda',
  'tokenKeyName',
  'tokenSigningPublicKeys',
  'signingDisabled',
  'status',
]

/** The members of an authorizer that are no option. */
export function unknownMembers(authorizer: object): string[] {
  return Object.keys(authorizer).filter((name) => !AUTHORIZER_OPTIONS.includes(name))
}

/**
 * The option that an unknown member was probably meant to be. An authorizer may have members of its own, which its
 * handler reaches through `this`; so only a name that is part of an option's, or holds it, is taken for a mistake.
 */
export function meantOption(member: string): string | undefined {
  const word = member.toLowerCase().replace(/[^a-z]/g, '')
  return AUTHORIZER_OPTIONS.find((option) => {
    const known = option.toLowerCase()
    return word.length > 3 && (known.includes(word) || word.includes(known))
  })
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
