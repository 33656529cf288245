// What happens to connections, for whoever watches the process: https://nodejs.org/api/diagnostics_channel.html
import type { Connection } from '../index.js'

const PREFIX = 'custom-authorizer-connect:'

export type DiagnosticsEvent = 'attempt' | 'connect' | 'interrupt' | 'resume' | 'closed'

let diagnostics: typeof import('node:diagnostics_channel') | undefined

/** Costs nothing but a look where nobody has subscribed. */
export function publishDiagnostics(event: DiagnosticsEvent, connection: Connection, payload: object): void {
  // Not at import, which most of a short process is.
  diagnostics ??= require('node:diagnostics_channel') as typeof import('node:diagnostics_channel')
  const channel = diagnostics.channel(PREFIX + event)
  if (channel.hasSubscribers) channel.publish({ connection, clientId: connection.clientId, ...payload })
}
