// Asks the app for credentials, once for each attempt.
import type { ConnectOptions } from '../index.js'
import { MqttError } from './errors.js'
import type { CredentialsTaker } from './native.js'
import { freshCredentials } from './options.js'

type Source = NonNullable<ConnectOptions['credentials']>

/** An error of ours, of whatever the function did with this package, says nothing about its credentials. */
function isTransient(error: unknown): boolean {
  if (error instanceof MqttError) return true
  return (error as { retryable?: unknown } | null | undefined)?.retryable !== false
}

/** The app's function, and the one call of it that somebody waits for. */
export class CredentialsSource {
  readonly #source: Source
  #current: AbortController | undefined
  #thrown: unknown

  constructor(source: Source) {
    this.#source = source
  }

  /** What the app threw at the last call; undefined where it threw nothing. */
  get thrown(): unknown {
    return this.#thrown
  }

  /** Never rejects: what goes wrong fails the attempt. */
  async ask(native: CredentialsTaker, number: number, lastError: MqttError | undefined): Promise<void> {
    this.expire()
    this.#thrown = undefined
    const controller = new AbortController()
    this.#current = controller
    const { signal } = controller
    const { clientId } = native
    let returned = false
    try {
      const attempt = { number, clientId, ...(lastError !== undefined && { lastError }), signal }
      const given = await this.#source(attempt)
      // Too late: the addon would not take it either.
      if (signal.aborted) return
      returned = true
      const { credentials, expiresAt } = freshCredentials(given)
      const expiresInMs = expiresAt === undefined ? undefined : expiresAt - Date.now()
      native.credentials(number, credentials, expiresAt, expiresInMs)
    } catch (error) {
      if (signal.aborted) return
      this.#thrown = error
      const message = returned
        ? `what credentials() returned for attempt ${number} cannot be used: ${(error as Error).message}`
        : `credentials() failed for attempt ${number}`
      native.credentialsFailed(number, message, returned || isTransient(error))
    } finally {
      if (this.#current === controller) this.#current = undefined
    }
  }

  /** Nobody waits for the answer any more. */
  expire(): void {
    this.#current?.abort()
    this.#current = undefined
  }
}
