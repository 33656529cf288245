import { styleText } from 'node:util'

export type Tone = 'good' | 'bad' | 'warning' | 'quiet' | 'strong' | 'plain'

/** A text in the colour of its tone. */
export type Paint = (tone: Tone, text: string) => string

const STYLES = {
  good: 'green',
  bad: 'red',
  warning: 'yellow',
  quiet: 'dim',
  strong: 'bold',
} as const

// Newer versions look at the terminal themselves, and judge by another stream than the one that is written to.
const style = styleText as (format: string, text: string, options: object) => string

/** Colours are for a terminal: none in a pipe, with NO_COLOR, or where they are not wanted. */
export function createPaint(wanted: boolean, terminal: boolean, environment: NodeJS.ProcessEnv): Paint {
  const colored = wanted && terminal && !environment['NO_COLOR']
  return (tone, text) =>
    colored && tone !== 'plain' ? style(STYLES[tone], text, { validateStream: false }) : text
}
