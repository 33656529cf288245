/** A compiled pattern: characters to be met literally, and wildcards. */
export type Glob = readonly (string | typeof ANY | typeof ONE)[]

/** Values of policy variables by lower-case name, such as `iot:clientid`. */
export type Variables = ReadonlyMap<string, string>

const ANY = Symbol('*')
const ONE = Symbol('?')

/** Compiles a policy pattern; undefined if it uses a variable that has no value, for that matches nothing. */
export function compileGlob(pattern: string, variables: Variables): Glob | undefined {
  const glob: (string | symbol)[] = []
  for (const piece of split(pattern)) {
    if (piece.variable === undefined) {
      for (const char of piece.text) glob.push(char === '*' ? ANY : char === '?' ? ONE : char)
      continue
    }
    const value = valueOf(piece.variable, variables)
    if (value === undefined) return undefined
    glob.push(...value) // literally: a client id of "*" is no wildcard
  }
  return glob as Glob
}

/** Replaces the variables and leaves wildcards alone; undefined if a variable has no value. */
export function substitute(text: string, variables: Variables): string | undefined {
  let result = ''
  for (const piece of split(text)) {
    const part = piece.variable === undefined ? piece.text : valueOf(piece.variable, variables)
    if (part === undefined) return undefined
    result += part
  }
  return result
}

/** Whether every variable in `text` has a value. */
export const hasValues = (text: string, variables: Variables): boolean =>
  unresolvedVariable(text, variables) === undefined

/** The first variable in `text` that has no value. */
export function unresolvedVariable(text: string, variables: Variables): string | undefined {
  for (const { variable } of split(text)) {
    if (variable !== undefined && valueOf(variable, variables) === undefined) return variable
  }
  return undefined
}

/** Like `split`, but the separator in the name of a variable, `${iot:ClientId}`, divides nothing. */
export function splitOutsideVariables(text: string, separator: string): string[] {
  const parts = ['']
  for (const piece of split(text)) {
    const [first = '', ...rest] = piece.variable === undefined ? piece.text.split(separator) : [piece.text]
    parts[parts.length - 1] += first
    parts.push(...rest)
  }
  return parts
}

/** Linear in space and at worst quadratic in time, whatever a client puts into a topic. */
export function matchesGlob(glob: Glob, text: string): boolean {
  const chars = [...text]
  let g = 0
  let c = 0
  let star = -1
  let resume = 0
  while (c < chars.length) {
    const token = glob[g]
    if (token === ANY) {
      star = g++
      resume = c
    } else if (token === ONE || token === chars[c]) {
      g++
      c++
    } else if (star >= 0) {
      g = star + 1
      c = ++resume
    } else {
      return false
    }
  }
  while (glob[g] === ANY) g++
  return g === glob.length
}

interface Piece {
  text: string
  variable?: string
}

/** Variables are `${name}`; the guide also prints `$(*)`, `$(?)` and `$($)` for the three special characters. */
function* split(pattern: string): Generator<Piece> {
  let end = 0
  for (const match of pattern.matchAll(/\$\{([^}]*)\}|\$\(([*?$])\)/g)) {
    yield { text: pattern.slice(end, match.index) }
    yield { text: match[0], variable: (match[1] ?? match[2])! }
    end = match.index + match[0].length
  }
  yield { text: pattern.slice(end) }
}

function valueOf(variable: string, variables: Variables): string | undefined {
  if (variable === '*' || variable === '?' || variable === '$') return variable
  return variables.get(variable.toLowerCase())
}
