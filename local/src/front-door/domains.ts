import { isObject } from '../options'

/** An endpoint of its own, by server name: what `aws iot create-domain-configuration` takes. */
export interface Domain {
  /** Used for a request that names no authorizer; without one, the account's. */
  defaultAuthorizer?: string
  /** May a request name another authorizer than the default? By default it may. */
  allowAuthorizerOverride?: boolean
  /** `CUSTOM_AUTH_X509` wants a client certificate beside the authorizer, and is for MQTT over TLS alone. */
  authenticationType?: 'CUSTOM_AUTH' | 'CUSTOM_AUTH_X509'
  /** `DEFAULT` lets ALPN decide; with `SECURE_MQTT` a client need not offer ALPN. */
  applicationProtocol?: 'SECURE_MQTT' | 'MQTT_WSS' | 'DEFAULT'
  /** `DISABLED` turns everybody away. */
  domainConfigurationStatus?: 'ENABLED' | 'DISABLED'
}

/** The server names (SNI) that an endpoint answers to, with the settings of each. */
export class Domains {
  readonly names: readonly string[]
  readonly #table: ReadonlyMap<string, Domain>

  /** `plainNames` are names without settings; `*.` stands for one level in either. */
  constructor(table: Record<string, Domain>, plainNames: readonly string[]) {
    const plain = plainNames.map((name): [string, Domain] => [name.toLowerCase(), {}])
    const configured = Object.entries(table).map(([name, d]): [string, Domain] => [name.toLowerCase(), d])
    this.#table = new Map([...plain, ...configured])
    this.names = [...this.#table.keys()]
  }

  /** Undefined for a name that is not answered to; a name written out goes before a wildcard. */
  find(serverName: string | undefined): Domain | undefined {
    if (serverName === undefined) return undefined
    const name = serverName.toLowerCase()
    const dot = name.indexOf('.')
    return this.#table.get(name) ?? (dot > 0 ? this.#table.get(`*${name.slice(dot)}`) : undefined)
  }
}

/** Without ALPN, MQTT is let in where the domain says that it speaks nothing else. */
export const isMqttOnly = ({ applicationProtocol, authenticationType }: Domain): boolean =>
  applicationProtocol === 'SECURE_MQTT' || authenticationType === 'CUSTOM_AUTH_X509'

/** Throws where a domain has members that do not exist, or settings that do not go together. */
export function checkDomains(
  table: unknown,
  authorizerNames: readonly string[],
  accountDefault: string | undefined,
): void {
  if (!isObject(table)) throw new TypeError('domains must be an object, server name -> domain')
  for (const [name, domain] of Object.entries(table)) {
    const check = (valid: boolean, problem: string): void => {
      if (!valid) throw new TypeError(`domains["${name}"]: ${problem}`)
    }
    check(/^(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*$/i.test(name), 'a domain goes by a server name')
    check(isObject(domain), 'must be an object')
    const unknown = Object.keys(domain as object).find((member) => !MEMBERS.includes(member))
    check(unknown === undefined, `there is no member "${unknown}"; the members are: ${MEMBERS.join(', ')}`)
    const {
      defaultAuthorizer,
      allowAuthorizerOverride,
      authenticationType,
      applicationProtocol,
      domainConfigurationStatus,
    } = domain as Domain
    check(
      defaultAuthorizer === undefined || authorizerNames.includes(defaultAuthorizer),
      `defaultAuthorizer: there is no authorizer "${defaultAuthorizer}"`,
    )
    check(
      [undefined, true, false].includes(allowAuthorizerOverride),
      'allowAuthorizerOverride must be true or false',
    )
    check(
      allowAuthorizerOverride !== false || (defaultAuthorizer ?? accountDefault) !== undefined,
      'allowAuthorizerOverride: false needs a defaultAuthorizer',
    )
    check(
      [undefined, 'CUSTOM_AUTH', 'CUSTOM_AUTH_X509'].includes(authenticationType),
      'authenticationType must be "CUSTOM_AUTH" or "CUSTOM_AUTH_X509"',
    )
    check(
      [undefined, 'SECURE_MQTT', 'MQTT_WSS', 'DEFAULT'].includes(applicationProtocol),
      'applicationProtocol must be "SECURE_MQTT", "MQTT_WSS" or "DEFAULT"',
    )
    check(
      [undefined, 'ENABLED', 'DISABLED'].includes(domainConfigurationStatus),
      'domainConfigurationStatus must be "ENABLED" or "DISABLED"',
    )
    if (authenticationType !== 'CUSTOM_AUTH_X509') continue
    check(defaultAuthorizer !== undefined, 'CUSTOM_AUTH_X509 needs a defaultAuthorizer')
    check(
      applicationProtocol !== 'MQTT_WSS',
      'CUSTOM_AUTH_X509 is not possible over WebSocket; use applicationProtocol "SECURE_MQTT"',
    )
  }
}

const MEMBERS = [
  'defaultAuthorizer',
  'allowAuthorizerOverride',
  'authenticationType',
  'applicationProtocol',
  'domainConfigurationStatus',
]
