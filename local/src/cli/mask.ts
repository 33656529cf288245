import type { HandlerInvocation } from '../authorizer/authorizer'
import type { AuthorizerEvent } from '../authorizer/authorizer-event'
import { concealSecrets, isPlainHeader, maskParameters } from '../authorizer/secrets'

const MASK = '***'

/** What a handler got and said, ready to be shown. */
export interface ShownInvocation {
  event: unknown
  response?: unknown
  error?: { name: string; message: string; stack?: string }
}

export function showInvocation(
  { event, response, error }: HandlerInvocation,
  redact: boolean,
): ShownInvocation {
  const hide = (text: string): string => (redact ? concealSecrets(text, event) : text)
  return {
    event: redact ? maskEvent(event) : event,
    ...(response !== undefined && { response: redact ? mapStrings(response, hide) : response }),
    ...(error !== undefined && {
      error: {
        name: error.name,
        message: hide(error.message),
        ...(error.stack !== undefined && { stack: hide(error.stack) }),
      },
    }),
  }
}

/**
 * By member and not by text: a password such as "{" or "e" must not take the event apart.
 * Of the user name the part before its "?" stays, and of headers what every client sends.
 */
function maskEvent(event: AuthorizerEvent): AuthorizerEvent {
  const { http, mqtt } = event.protocolData
  return {
    ...event,
    ...(event.token !== undefined && { token: MASK }),
    protocolData: {
      ...event.protocolData,
      ...(http !== undefined && {
        http: {
          headers: Object.fromEntries(
            Object.entries(http.headers).map(([name, value]) => [name, isPlainHeader(name) ? value : MASK]),
          ),
          queryString: maskParameters(http.queryString),
        },
      }),
      ...(mqtt !== undefined && {
        mqtt: {
          ...mqtt,
          ...(mqtt.username !== undefined && { username: maskParameters(mqtt.username) }),
          ...(mqtt.password !== undefined && { password: MASK }),
        },
      }),
    },
  }
}

function mapStrings(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return change(value)
  if (Array.isArray(value)) return value.map((item) => mapStrings(item, change))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [change(key), mapStrings(item, change)]),
  )
}
