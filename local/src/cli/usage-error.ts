/** The command line is wrong; the hint says how it is right. */
export class UsageError extends Error {
  override readonly name = 'UsageError'

  constructor(
    message: string,
    readonly hint = 'Run with --help to see every flag.',
  ) {
    super(message)
  }
}
