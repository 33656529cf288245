/** Text from elsewhere, unable to steer a terminal: control characters are written out. */
export const printable = (text: string): string => text.replace(CONTROLS, writeOut)

/** The lines of a longer text, in which tabs stay what they are for, and colours go. */
export const printableLines = (text: string): string[] =>
  text
    .replace(COLOURS, '')
    .replaceAll('\t', '    ')
    .replace(/\r?\n$/u, '')
    .split(/\r?\n/u)
    .map(printable)

/** JSON itself leaves some control characters as they are. */
export const jsonLine = (value: unknown): string => JSON.stringify(value).replace(CONTROLS, writeOut)

// oxlint-disable-next-line no-control-regex -- they are what is looked for.
const COLOURS = /\u001b\[[\d;]*m/gu

/** C0, DEL, C1, line separators, and what turns the direction of writing. */
// oxlint-disable-next-line no-control-regex -- they are what is looked for.
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu

const writeOut = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
