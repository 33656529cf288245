import type { AuthorizerRequest } from './authorizer-event'
import type { Choices } from '../choices'
import { parseParameters, parseUserName, type Parameters } from './user-name'

/** The places that a credential can come in. */
export type Carrier = 'user name' | 'query string' | 'header'

/** Authorizer name, token and signature of a request; each may come by another carrier. */
export class Credentials {
  /** In the order in which they are believed. */
  readonly #carriers: ReadonlyArray<readonly [Carrier, Parameters]>

  constructor(
    { mqtt, http }: AuthorizerRequest,
    { parameterDecoding, carrierPrecedence }: Pick<Choices, 'parameterDecoding' | 'carrierPrecedence'>,
  ) {
    const carriers: [Carrier, Parameters][] = [
      ['user name', parseUserName(mqtt?.username ?? '', parameterDecoding).parameters],
      ['query string', parseParameters(http?.queryString.slice(1) ?? '', parameterDecoding)],
      ['header', new Map(Object.entries(http?.headers ?? {}))], // as they are: nothing is encoded in a header
    ]
    this.#carriers = carrierPrecedence === 'connect-query-header' ? carriers : carriers.toReversed()
  }

  /** Empty values count as missing. */
  find(key: string): { carrier: Carrier; value: string } | undefined {
    return this.#all(key)[0]
  }

  /** Names the carriers that say different things of one key; the values may be secret. */
  disagreement(key: string): string | undefined {
    const [believed, ...others] = this.#all(key)
    const different = others.filter(({ value }) => value !== believed!.value)
    if (different.length === 0) return undefined
    const names = different.map(({ carrier }) => carrier).join(' and ')
    return `${key} is in the ${believed!.carrier} and, with another value, in the ${names}; the ${believed!.carrier} counts`
  }

  #all(key: string): { carrier: Carrier; value: string }[] {
    return this.#carriers.flatMap(([carrier, parameters]) => {
      const value = parameters.get(key.toLowerCase())
      return value ? [{ carrier, value }] : []
    })
  }
}
