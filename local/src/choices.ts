import type { Profile } from './connection/connection-services'
import { isObject } from './options'
import { NOT_AUTHORIZED, type Refusal } from './connection/refusal'

/**
 * What AWS does not document, and nobody outside can know. Each member names what the default rests on; a client
 * should get along with all of its values.
 */
export interface Choices {
  /**
   * An authorizer that denies, fails, or no longer allows iot:Connect when it is asked again.
   * `close`, the default: the connection ends with AUTH_ERROR. `keep`: it stays, and the authorizer is asked again
   * after the same time; until then the older policy holds, unless there is a newer one.
   * Unsourced: the guide says only that the function is invoked again.
   */
  failedRefresh: 'close' | 'keep'
  /**
   * What a refused MQTT 3.1.1 client gets: nothing but the end of its connection, or CONNACK 5 or 7 before it.
   * Users of the SDKs report a hang-up without CONNACK, hence `close`; the guide of 2023 spoke of 7 in place of 5.
   * In the profile `friendly` the default is 5.
   */
  refusedConnect311: 'close' | 5 | 7
  /**
   * The CONNACK code for an MQTT 5 client that its authorizer, or its signature, turned away: not authorized, or bad
   * user name or password. The guide lists both; 0x87 is the default.
   */
  refusedConnect5: 0x87 | 0x86
  /**
   * A PUBLISH of an MQTT 5 client that the policy denies. `puback-disconnect`, the default: PUBACK 0x87 for QoS 1,
   * then DISCONNECT 0x87. `puback`: the connection stays. `close`: neither packet, as on 3.1.1.
   * The guide lists both codes, and field reports on 3.1.1 show the connection closed.
   */
  deniedPublish5: 'puback-disconnect' | 'puback' | 'close'
  /**
   * The same of an MQTT 3.1.1 client. `close`, the default, ends the connection without a word, as field reports
   * show. `puback` keeps it: the message is thrown away, and acknowledged for QoS 1.
   */
  deniedPublish311: 'close' | 'puback'
  /**
   * A filter of an MQTT 5 client that the policy denies. `suback`, the default: SUBACK 0x87, and the connection
   * stays. `disconnect`: no SUBACK but DISCONNECT 0x87. `close`: neither packet, as on 3.1.1.
   * The guide lists SUBACK 0x87.
   */
  deniedSubscribe5: 'suback' | 'disconnect' | 'close'
  /**
   * The same of an MQTT 3.1.1 client. `close`, the default, ends the connection without a word, as field reports
   * show. `suback` keeps it, with 0x80 for the filter.
   */
  deniedSubscribe311: 'close' | 'suback'
  /**
   * How an MQTT 5 connection ends that is older than `disconnectAfterInSeconds`: without a word, or with DISCONNECT
   * 0x87 (not authorized) or 0x98 (administrative action). The guide says "disconnected" and names no code.
   */
  endOfLife5: 'close' | 0x87 | 0x98
  /**
   * How parameters in a user name and in a query string are decoded before the token is verified and handed over:
   * `form`, the default, once, and `+` is a space; `percent`, once, and `+` stays; `none`. Nothing in a header is
   * decoded. Unsourced: it follows from the guide's advice to percent-encode, and from signatures with a bare `+` that
   * fail in the field.
   */
  parameterDecoding: 'form' | 'percent' | 'none'
  /**
   * Which of the places is believed where a WebSocket client says different things in several. Each disagreement is a
   * warning. Unsourced; `connect-query-header` is the default.
   */
  carrierPrecedence: 'connect-query-header' | 'header-query-connect'
  /**
   * What an Allow of iot:Connect without a Condition on `iot:ConnectAttributes` lets a client do: connect with a
   * persistent session and with a Will as well, the default; or only without either. The guide says both.
   */
  unconditionedConnect: 'everything' | 'non-persistent'
}

const VALUES: { readonly [Name in keyof Choices]: readonly Choices[Name][] } = {
  failedRefresh: ['close', 'keep'],
  refusedConnect311: ['close', 5, 7],
  refusedConnect5: [0x87, 0x86],
  deniedPublish5: ['puback-disconnect', 'puback', 'close'],
  deniedPublish311: ['close', 'puback'],
  deniedSubscribe5: ['suback', 'disconnect', 'close'],
  deniedSubscribe311: ['close', 'suback'],
  endOfLife5: ['close', 0x87, 0x98],
  parameterDecoding: ['form', 'percent', 'none'],
  carrierPrecedence: ['connect-query-header', 'header-query-connect'],
  unconditionedConnect: ['everything', 'non-persistent'],
}

/** All choices: those that were made, and the defaults of the profile. Throws for one that does not exist. */
export function readChoices(given: unknown, profile: Profile): Choices {
  if (given !== undefined && !isObject(given)) throw new TypeError('choices must be an object, name -> value')
  const made = Object.entries(given ?? {}).filter(([, value]) => value !== undefined)
  for (const [name, value] of made) {
    if (!Object.hasOwn(VALUES, name)) {
      throw new TypeError(`there is no choice "${name}"; the choices are: ${Object.keys(VALUES).join(', ')}`)
    }
    const values: readonly unknown[] = VALUES[name as keyof Choices]
    if (!values.includes(value)) {
      throw new TypeError(
        `choices.${name} must be one of ${values.map(show).join(', ')}; it is ${show(value)}`,
      )
    }
  }
  return {
    failedRefresh: 'close',
    refusedConnect311: profile === 'friendly' ? 5 : 'close',
    refusedConnect5: 0x87,
    deniedPublish5: 'puback-disconnect',
    deniedPublish311: 'close',
    deniedSubscribe5: 'suback',
    deniedSubscribe311: 'close',
    endOfLife5: 'close',
    parameterDecoding: 'form',
    carrierPrecedence: 'connect-query-header',
    unconditionedConnect: 'everything',
    ...Object.fromEntries(made),
  }
}

/** What the CONNACK says; undefined where there is none. Refusals that no authorizer had part in keep their code. */
export function connackCode(
  { stage, codes }: Refusal,
  protocolVersion: 3 | 5,
  { refusedConnect311, refusedConnect5 }: Choices,
): number | undefined {
  if (protocolVersion === 5) {
    const byAuthorizer = stage === 'signature' || stage === 'authorizer'
    return byAuthorizer && codes.reasonCode === NOT_AUTHORIZED.reasonCode ? refusedConnect5 : codes.reasonCode
  }
  if (refusedConnect311 === 'close') return undefined
  return codes.returnCode === NOT_AUTHORIZED.returnCode ? refusedConnect311 : codes.returnCode
}

function show(value: unknown): string {
  return typeof value === 'number' && value > 9 ? `0x${value.toString(16)}` : JSON.stringify(value)
}
