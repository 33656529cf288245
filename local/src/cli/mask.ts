import type { HandlerInvocation } from '../authorizer/authorizer'
import type { AuthorizerEvent } from '../authorizer/authorizer-event'
import { isPlainHeader, MASK, maskParameters, Secrets } from '../authorizer/secrets'
import { isObject } from '../options'

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
  const secrets = redact ? new Secrets(event) : undefined
  const hide = (text: string): string => secrets?.hide(text) ?? text
  return {
    event: redact ? maskEvent(event) : event,
    ...(response !== undefined && { response: secrets ? maskResponse(response, secrets) : response }),
    ...(error !== undefined && {
      error: {
        name: hide(error.name),
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

/** What it is about stays: a parameter that is "true" or "false" must not make that a riddle. */
function maskResponse(response: unknown, secrets: Secrets): unknown {
  const masked = secrets.hideIn(response)
  if (!isObject(response) || !isObject(masked)) return masked
  const { isAuthenticated } = response
  return typeof isAuthenticated === 'boolean' ? { ...masked, isAuthenticated } : masked
}
