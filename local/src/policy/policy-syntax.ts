/** The JSON shapes that policy documents are made of. */

export class PolicyError extends Error {
  override readonly name = 'PolicyError'

  constructor(
    /** Where in the document, such as `.Statement[0].Effect`. */
    readonly path: string,
    message: string,
  ) {
    super(message)
  }
}

export function strings(value: unknown, path: string): string[] {
  const values = list(value)
  if (values.length === 0 || !values.every((v) => typeof v === 'string')) {
    throw new PolicyError(path, 'must be a string or a list of strings')
  }
  return values
}

export function object(value: unknown, path: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new PolicyError(path, 'must be an object')
  }
  return value as Record<string, unknown>
}

export function list(value: unknown): unknown[] {
  if (value === undefined) return []
  return Array.isArray(value) ? (value as unknown[]) : [value]
}

/** A value as a message quotes it. */
export function show(value: unknown): string {
  if (value === undefined) return 'missing'
  const text = JSON.stringify(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}
