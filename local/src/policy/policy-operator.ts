import { BlockList, isIP } from 'node:net'
import { compileGlob, matchesGlob, splitOutsideVariables, substitute, type Variables } from './glob'

/** Whether the `actual` value of a request meets one value of a condition. */
export type Test = (actual: string, wanted: string, variables: Variables) => boolean

export interface Operator {
  test: Test
  negated: boolean
  /** Policy variables in its values are replaced. */
  variables?: boolean
  /** What is wrong with a value in a policy, or undefined. */
  problem?: (value: string) => string | undefined
}

const equals: Test = (actual, wanted, variables) => actual === substitute(wanted, variables)

const equalsIgnoreCase: Test = (actual, wanted, variables) =>
  actual.toLowerCase() === substitute(wanted, variables)?.toLowerCase()

const like: Test = (actual, wanted, variables) => {
  const glob = compileGlob(wanted, variables)
  return glob !== undefined && matchesGlob(glob, actual)
}

/** Each of the six parts for itself: a wildcard stays within its part. Only the last part may hold colons. */
const arnLike: Test = (actual, wanted, variables) => {
  if (wanted === '*') return true
  const parts = splitArn(actual.split(':'))
  const patterns = splitArn(splitOutsideVariables(wanted, ':'))
  return (
    parts.length === 6 && patterns.every((pattern, index) => like(parts[index] ?? '', pattern, variables))
  )
}

const splitArn = (pieces: string[]): string[] =>
  pieces.length < 6 ? pieces : [...pieces.slice(0, 5), pieces.slice(5).join(':')]

/** False wherever one of both is no number. */
const numeric =
  (compare: (actual: number, wanted: number) => boolean): Test =>
  (actual, wanted) =>
    compare(toNumber(actual), toNumber(wanted))

const date =
  (compare: (actual: number, wanted: number) => boolean): Test =>
  (actual, wanted) =>
    compare(toTime(actual), toTime(wanted))

const bool: Test = (actual, wanted) => actual.toLowerCase() === wanted.toLowerCase()

const inRange: Test = (actual, range) => {
  const block = toBlock(range)
  const version = isIP(actual)
  return block !== undefined && version !== 0 && block.check(actual, version === 4 ? 'ipv4' : 'ipv6')
}

const isNumber = (value: string): string | undefined =>
  Number.isNaN(toNumber(value)) ? `"${value}" is not a number` : undefined
const isDate = (value: string): string | undefined =>
  Number.isNaN(toTime(value))
    ? `"${value}" is neither a date such as 2026-01-31T12:00:00Z nor seconds`
    : undefined
const isBool = (value: string): string | undefined =>
  /^(true|false)$/i.test(value) ? undefined : `"${value}" is neither "true" nor "false"`
const isRange = (value: string): string | undefined =>
  toBlock(value) === undefined ? `"${value}" is no IP address or range such as 10.1.0.0/16` : undefined
const isArn = (value: string): string | undefined =>
  value === '*' || splitArn(splitOutsideVariables(value, ':')).length === 6
    ? undefined
    : `"${value}" is no ARN, which has six parts divided by ":"`

const text = { variables: true } as const
const arn = { variables: true, problem: isArn } as const
const less = (a: number, b: number): boolean => a < b
const lessOrSame = (a: number, b: number): boolean => a <= b
const more = (a: number, b: number): boolean => a > b
const moreOrSame = (a: number, b: number): boolean => a >= b
const same = (a: number, b: number): boolean => a === b

/** The condition operators of IAM by name, without `IfExists` and the words for sets. */
export const OPERATORS: Readonly<Record<string, Operator>> = {
  StringEquals: { test: equals, negated: false, ...text },
  StringNotEquals: { test: equals, negated: true, ...text },
  StringEqualsIgnoreCase: { test: equalsIgnoreCase, negated: false, ...text },
  StringNotEqualsIgnoreCase: { test: equalsIgnoreCase, negated: true, ...text },
  StringLike: { test: like, negated: false, ...text },
  StringNotLike: { test: like, negated: true, ...text },
  ArnEquals: { test: arnLike, negated: false, ...arn },
  ArnNotEquals: { test: arnLike, negated: true, ...arn },
  ArnLike: { test: arnLike, negated: false, ...arn },
  ArnNotLike: { test: arnLike, negated: true, ...arn },
  IpAddress: { test: inRange, negated: false, problem: isRange },
  NotIpAddress: { test: inRange, negated: true, problem: isRange },
  NumericEquals: { test: numeric(same), negated: false, problem: isNumber },
  NumericNotEquals: { test: numeric(same), negated: true, problem: isNumber },
  NumericLessThan: { test: numeric(less), negated: false, problem: isNumber },
  NumericLessThanEquals: { test: numeric(lessOrSame), negated: false, problem: isNumber },
  NumericGreaterThan: { test: numeric(more), negated: false, problem: isNumber },
  NumericGreaterThanEquals: { test: numeric(moreOrSame), negated: false, problem: isNumber },
  DateEquals: { test: date(same), negated: false, problem: isDate },
  DateNotEquals: { test: date(same), negated: true, problem: isDate },
  DateLessThan: { test: date(less), negated: false, problem: isDate },
  DateLessThanEquals: { test: date(lessOrSame), negated: false, problem: isDate },
  DateGreaterThan: { test: date(more), negated: false, problem: isDate },
  DateGreaterThanEquals: { test: date(moreOrSame), negated: false, problem: isDate },
  Bool: { test: bool, negated: false, problem: isBool },
}

function toNumber(value: string): number {
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value) ? Number(value) : Number.NaN
}

/** Milliseconds since the epoch, of an ISO 8601 date or of seconds since then. */
function toTime(value: string): number {
  if (/^\d+(\.\d+)?$/.test(value) && value.length > 4) return Number(value) * 1000
  const iso = /^\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?$/.exec(value)
  if (iso === null) return Number.NaN
  return Date.parse(iso[3] !== undefined && iso[6] === undefined ? `${value}Z` : value)
}

function toBlock(range: string): BlockList | undefined {
  const [address = '', prefix, ...rest] = range.split('/')
  const version = isIP(address)
  const most = version === 4 ? 32 : 128
  const bits = prefix === undefined ? most : /^\d{1,3}$/.test(prefix) ? Number(prefix) : Number.NaN
  if (version === 0 || rest.length > 0 || !(bits <= most)) return undefined
  const block = new BlockList()
  block.addSubnet(address, bits, version === 4 ? 'ipv4' : 'ipv6')
  return block
}
