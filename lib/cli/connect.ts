import type { Client, Run } from './run.js'

/** AWS's custom_authorizer_connect: these four lines and nothing else. */
export async function connectSample({ connectWithCustomAuthorizer }: Client, run: Run): Promise<void> {
  run.print('Connecting...')
  const connection = await connectWithCustomAuthorizer(run.options)
  run.print('Connection completed.')
  run.print('Disconnecting...')
  await connection.disconnect()
  run.print('Disconnect completed.')
}
