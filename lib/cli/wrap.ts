/** Breaks text between words, into lines of at most this width where no word is longer. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  const words = text.split(' ')
  let line = words[0]!
  for (const word of words.slice(1)) {
    if (line.trim() !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else {
      line += ` ${word}`
    }
  }
  return [...lines, line]
}
