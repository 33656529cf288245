import { execFile } from 'node:child_process'

/**
 * Where a syntax error is: import() tells only what it is. Empty if it is in none of these files. `files` are checked
 * by Node itself, in a process of its own.
 */
export async function locateSyntaxError(files: string[]): Promise<string> {
  for (const file of files) {
    const output = await new Promise<string>((resolve) => {
      execFile(process.execPath, ['--check', file], { timeout: 5000 }, (error, _stdout, stderr) =>
        resolve(error === null ? '' : stderr),
      )
    })
    // The place, the line, and a mark below it; after that comes the error once more.
    const place = output.split('\n\n')[0]!.split('\n').slice(0, 3)
    if (place[0]!.startsWith(file) || place[0]!.startsWith('file:')) return place.join('\n')
  }
  return ''
}
