// Standard output and standard error. Node's own streams for them bring `net` and `stream` along, which takes as long
// as to connect and more memory; a descriptor needs neither, and on POSIX those streams write synchronously as well.
import { writeSync } from 'node:fs'

const descriptors = { stdout: 1, stderr: 2 } as const
type Name = keyof typeof descriptors

/** Those that are written through Node's stream: a console of Windows, and a pipe that somebody made non-blocking. */
const streams = new Map<Name, NodeJS.WriteStream>()
let brokenPipe: (() => void) | undefined

/** Writes a line, or several, to standard output. A reader that went away is no error here: see {@link onBrokenPipe}. */
export function print(text: string): void {
  write('stdout', `${text}\n`)
}

/** Writes a line, or several, to standard error. */
export function printError(text: string): void {
  write('stderr', `${text}\n`)
}

/** Calls `listener` when the reader of standard output has gone away; `undefined` calls nobody any more. */
export function onBrokenPipe(listener: (() => void) | undefined): void {
  brokenPipe = listener
}

function write(name: Name, text: string): void {
  if (process.platform === 'win32' || streams.has(name)) {
    streamOf(name).write(text)
    return
  }
  let rest = Buffer.from(text)
  try {
    while (rest.length > 0) rest = rest.subarray(writeSync(descriptors[name], rest))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') streamOf(name).write(rest)
    else failed(name)
  }
}

function streamOf(name: Name): NodeJS.WriteStream {
  let stream = streams.get(name)
  if (stream === undefined) {
    stream = process[name].on('error', () => failed(name))
    streams.set(name, stream)
  }
  return stream
}

function failed(name: Name): void {
  if (name === 'stdout') brokenPipe?.()
}
