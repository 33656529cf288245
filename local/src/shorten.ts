const ELLIPSIS = '...'

/**
 * The text up to a length, with an ellipsis if there is more. It is a copy: a part that the engine cuts out of a
 * string keeps the whole of it in memory.
 */
export function shorten(text: string, length: number): string {
  if (text.length <= length) return text
  return Buffer.from(text.slice(0, length - ELLIPSIS.length)).toString() + ELLIPSIS
}
