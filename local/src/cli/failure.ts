import type { LocalEndpointOptions } from '../endpoint'
import { UsageError } from './usage-error'

/** Starting fails for what people can mend: says what it is and what to do next. */
export function explainFailure(
  error: NodeJS.ErrnoException,
  { port, host = '127.0.0.1' }: LocalEndpointOptions,
  /** The path of the config file, where there is one. */
  config?: string,
): Error {
  switch (error.code) {
    case 'EADDRINUSE':
      return new Error(
        `Port ${port} of ${host} is in use already. Give another one with --port; 0 takes a free one.`,
      )
    case 'EACCES':
      return new Error(`Port ${port} of ${host} is not for this user. Give one above 1023 with --port.`)
    case 'EADDRNOTAVAIL':
    case 'EAFNOSUPPORT':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new Error(`This machine has no address ${host}. Correct --host; 127.0.0.1 is its default.`)
    case 'ERR_HANDLER_NOT_LOADED':
      return new Error(
        `${error.message}\nMend the module or correct its path, which is seen from ${process.cwd()}.`,
      )
    default:
      // What startLocalEndpoint says of options that cannot be.
      return error instanceof TypeError && error.code === undefined
        ? new UsageError(
            `${error.message}.`,
            config && `Flags or ${config} say so; the README lists what it may hold.`,
          )
        : new Error(`The endpoint did not start: ${error.message}`, { cause: error })
  }
}
