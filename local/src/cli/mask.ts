import type { AuthorizerEvent } from '../authorizer-event'
import { concealSecrets } from '../secrets'

/** An event without its secrets: password, token, signature, wherever they came by. */
export function maskEvent(event: AuthorizerEvent): unknown {
  return JSON.parse(concealSecrets(JSON.stringify(event), event))
}

/** An answer that repeats none of them either. */
export function maskAnswer(answer: unknown, event: AuthorizerEvent): unknown {
  const json = JSON.stringify(answer) as string | undefined
  return json === undefined ? answer : JSON.parse(concealSecrets(json, event))
}
