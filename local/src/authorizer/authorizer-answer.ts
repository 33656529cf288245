import { parsePolicyDocument, type PolicyDocument } from '../policy/policy-document'
import { PolicyError, show } from '../policy/policy-syntax'

/** A Lambda function's answer that passed every rule. */
export type AuthorizerAnswer = Denial | Grant

/** What else it says counts for nothing, and is kept as far as it has the right type. */
export interface Denial {
  isAuthenticated: false
  principalId?: string
  disconnectAfterInSeconds?: number
  refreshAfterInSeconds?: number
  policyDocuments?: Pick<PolicyDocument, 'source'>[]
}

export interface Grant {
  isAuthenticated: true
  principalId: string
  disconnectAfterInSeconds: number
  refreshAfterInSeconds: number
  policyDocuments: PolicyDocument[]
}

export type AnswerRule =
  | 'answer-not-an-object'
  | 'is-authenticated'
  | 'principal-id'
  | 'principal-id-certificate'
  | 'disconnect-after'
  | 'refresh-after'
  | 'policy-documents'
  | 'policy-document-count'
  | 'policy-document-size'
  | 'policy-document-json'
  | 'policy-document-element'
  | 'policy-document-version'
  | 'policy-document-statement'
  | 'policy-document-effect'
  | 'policy-document-action'
  | 'policy-document-resource'
  | 'policy-document-condition'

/** An answer that IoT Core would not accept; `rule` names the rule it breaks. */
export class InvalidAnswer extends Error {
  override readonly name = 'InvalidAnswer'

  constructor(
    readonly rule: AnswerRule,
    message: string,
  ) {
    super(message)
  }
}

const MAX_DOCUMENTS = 10
const MAX_DOCUMENT_LENGTH = 2048
const MEMBERS = new Set([
  'isAuthenticated',
  'principalId',
  'policyDocuments',
  'disconnectAfterInSeconds',
  'refreshAfterInSeconds',
])

/**
 * Judges an answer rule by rule. One that denies needs nothing else to be valid. With a client certificate beside the
 * authorizer (CUSTOM_AUTH_X509), `certificateId` is what the event had as `protocolData.tls.principalId`.
 */
export function validateAnswer(answer: unknown, certificateId?: string): AuthorizerAnswer {
  if (!isRecord(answer)) {
    const hint = answer === null ? '; does every path of the handler return one?' : ''
    throw new InvalidAnswer(
      'answer-not-an-object',
      `the handler must answer an object, it answered ${show(answer)}${hint}`,
    )
  }
  if (typeof answer['isAuthenticated'] !== 'boolean') {
    throw new InvalidAnswer(
      'is-authenticated',
      `isAuthenticated must be true or false, without quotes; it is ${show(answer['isAuthenticated'])}` +
        otherService(answer) +
        similarMember(answer, 'isAuthenticated'),
    )
  }
  if (!answer['isAuthenticated']) return denial(answer)
  return {
    isAuthenticated: true,
    principalId: principalId(answer, certificateId),
    disconnectAfterInSeconds: seconds('disconnect-after', 'disconnectAfterInSeconds', answer),
    refreshAfterInSeconds: seconds('refresh-after', 'refreshAfterInSeconds', answer),
    policyDocuments: policyDocuments(answer, certificateId !== undefined),
  }
}

/** What IoT Core accepts in a valid answer, and what its author will probably be surprised by. */
export function answerWarnings(answer: unknown): string[] {
  if (!isRecord(answer)) return []
  const unknown = Object.keys(answer).filter((name) => !MEMBERS.has(name))
  const warnings =
    unknown.length === 0
      ? []
      : [`IoT Core ignores what else is in the answer: ${show(unknown.join(', '))}${otherService(answer)}`]
  if (answer['isAuthenticated'] !== true) return warnings
  const { policyDocuments: documents, disconnectAfterInSeconds, refreshAfterInSeconds } = answer
  if (Array.isArray(documents) && documents.length === 0) {
    warnings.push('policyDocuments is empty, so nothing is allowed, not even to connect')
  }
  if (Number(refreshAfterInSeconds) > Number(disconnectAfterInSeconds)) {
    warnings.push('refreshAfterInSeconds is more than disconnectAfterInSeconds, so the refresh never comes')
  }
  return warnings
}

function denial({
  principalId: principal,
  disconnectAfterInSeconds: disconnectAfter,
  refreshAfterInSeconds: refreshAfter,
  policyDocuments: documents,
}: Record<string, unknown>): Denial {
  return {
    isAuthenticated: false,
    ...(typeof principal === 'string' && { principalId: principal }),
    ...(typeof disconnectAfter === 'number' && { disconnectAfterInSeconds: disconnectAfter }),
    ...(typeof refreshAfter === 'number' && { refreshAfterInSeconds: refreshAfter }),
    ...(Array.isArray(documents) && {
      policyDocuments: documents.map((document: unknown) => ({
        source: typeof document === 'string' ? document : JSON.stringify(document),
      })),
    }),
  }
}

function principalId(answer: Record<string, unknown>, certificateId: string | undefined): string {
  const { principalId: value } = answer
  const invalid = (problem: string): InvalidAnswer =>
    new InvalidAnswer(
      'principal-id',
      `principalId must be 1 to 128 letters and digits, without "-", ":" or "_"; ${problem}` +
        similarMember(answer, 'principalId'),
    )
  if (typeof value !== 'string' || value === '') throw invalid(`it is ${show(value)}`)
  if (value.length > 128) throw invalid(`it has ${value.length}: ${show(value)}`)
  if (!/^[a-zA-Z0-9]+$/.test(value)) throw invalid(`it is ${show(value)}`)
  if (certificateId !== undefined && value !== certificateId) {
    throw new InvalidAnswer(
      'principal-id-certificate',
      `principalId must be the certificate's id, which the event has as protocolData.tls.principalId; it is ${show(value)}`,
    )
  }
  return value
}

function seconds(rule: AnswerRule, field: string, answer: Record<string, unknown>): number {
  const value = answer[field]
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 300 || value > 86_400) {
    const shown = `it is ${show(value)}${similarMember(answer, field)}`
    throw new InvalidAnswer(rule, `${field} must be a whole number from 300 to 86400, ${shown}`)
  }
  return value
}

function policyDocuments(answer: Record<string, unknown>, optional: boolean): PolicyDocument[] {
  const { policyDocuments: value } = answer
  if (value === undefined && optional) return []
  if (!Array.isArray(value)) {
    throw new InvalidAnswer(
      'policy-documents',
      `policyDocuments must be a list, it is ${show(value)}${similarMember(answer, 'policyDocuments')}`,
    )
  }
  if (value.length > MAX_DOCUMENTS) {
    throw new InvalidAnswer(
      'policy-document-count',
      `policyDocuments has at most ${MAX_DOCUMENTS} documents, this one has ${value.length}`,
    )
  }
  return value.map((document: unknown, index) => policyDocument(document, index))
}

function policyDocument(value: unknown, index: number): PolicyDocument {
  const where = `policyDocuments[${index}]`
  const parsed = typeof value === 'string' ? parseJson(value, where) : value
  const text = typeof value === 'string' ? value : (JSON.stringify(parsed) ?? '')
  const { length } = text.replace(/\s/g, '') // white space does not count, between the words as little as in them
  if (length > MAX_DOCUMENT_LENGTH) {
    throw new InvalidAnswer(
      'policy-document-size',
      `${where} has ${length} characters without white space, at most ${MAX_DOCUMENT_LENGTH} are allowed`,
    )
  }
  try {
    return parsePolicyDocument(parsed)
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error
    throw new InvalidAnswer(documentRule(error.path), `${where}${error.path}: ${error.message}`)
  }
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new InvalidAnswer('policy-document-json', `${where} is a string that is not JSON: ${show(text)}`)
  }
}

/** By the first element on the path that has a rule, such as `.Statement[0].Condition.Bool`. */
function documentRule(path: string): AnswerRule {
  const [, first, second] = /^\.?(\w*)(?:\[\d+\])?\.?(\w*)/.exec(path) ?? []
  switch (second || first) {
    case 'Version':
      return 'policy-document-version'
    case 'Statement':
      return 'policy-document-statement'
    case 'Effect':
      return 'policy-document-effect'
    case 'Action':
    case 'NotAction':
      return 'policy-document-action'
    case 'Resource':
    case 'NotResource':
      return 'policy-document-resource'
    case 'Condition':
      return 'policy-document-condition'
    case '':
      return 'policy-document-json'
    default:
      return 'policy-document-element'
  }
}

/** Authorizers of API Gateway have the same name and another answer. */
function otherService(answer: Record<string, unknown>): string {
  const sign = ['policyDocument', 'isAuthorized', 'statusCode'].find((name) => name in answer)
  return sign === undefined ? '' : ` ("${sign}" belongs to an answer for API Gateway)`
}

/** For a member that is missing while another one looks like it. */
function similarMember(answer: Record<string, unknown>, field: string): string {
  if (field in answer) return ''
  const plain = (name: string): string => name.toLowerCase().replace(/[^a-z]/g, '')
  const wanted = plain(field)
  const similar = Object.keys(answer).find((name) => {
    const word = plain(name)
    if (MEMBERS.has(name) || word.length < 5) return false
    return wanted.includes(word) || word.startsWith(wanted.slice(0, 7))
  })
  return similar === undefined ? '' : `; there is ${show(similar)}, is that what is meant?`
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
