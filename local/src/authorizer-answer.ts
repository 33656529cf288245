import { parsePolicyDocument, type PolicyDocument } from './policy-document'
import { PolicyError } from './policy-syntax'

/** A Lambda function's answer that passed every rule. */
export type AuthorizerAnswer = { isAuthenticated: false } | Grant

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
  | 'disconnect-after'
  | 'refresh-after'
  | 'policy-documents'
  | 'policy-document-count'
  | 'policy-document-size'
  | 'policy-document-syntax'

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

/** Judges an answer rule by rule. One that denies needs nothing else to be valid. */
export function validateAnswer(answer: unknown): AuthorizerAnswer {
  if (!isRecord(answer)) {
    const hint = answer === null ? '; does every path of the handler return one?' : ''
    throw new InvalidAnswer(
      'answer-not-an-object',
      `the handler must answer an object, it answered ${show(answer)}${hint}`,
    )
  }
  if (typeof answer['isAuthenticated'] !== 'boolean') {
    const shown = show(answer['isAuthenticated'])
    throw new InvalidAnswer('is-authenticated', `isAuthenticated must be true or false, it is ${shown}`)
  }
  if (!answer['isAuthenticated']) return { isAuthenticated: false }
  return {
    isAuthenticated: true,
    principalId: principalId(answer['principalId']),
    disconnectAfterInSeconds: seconds('disconnect-after', 'disconnectAfterInSeconds', answer),
    refreshAfterInSeconds: seconds('refresh-after', 'refreshAfterInSeconds', answer),
    policyDocuments: policyDocuments(answer['policyDocuments']),
  }
}

function principalId(value: unknown): string {
  if (typeof value !== 'string' || !/^[a-zA-Z0-9]{1,128}$/.test(value)) {
    throw new InvalidAnswer(
      'principal-id',
      `principalId must be 1 to 128 letters and digits, without "-", ":" or "_"; it is ${show(value)}`,
    )
  }
  return value
}

function seconds(rule: AnswerRule, field: string, answer: Record<string, unknown>): number {
  const value = answer[field]
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 300 || value > 86_400) {
    throw new InvalidAnswer(rule, `${field} must be a whole number from 300 to 86400, it is ${show(value)}`)
  }
  return value
}

function policyDocuments(value: unknown): PolicyDocument[] {
  if (!Array.isArray(value)) {
    throw new InvalidAnswer('policy-documents', `policyDocuments must be a list, it is ${show(value)}`)
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
  // White space does not count, so the compact form is what has to fit.
  const length = JSON.stringify(parsed)?.length ?? 0
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
    throw new InvalidAnswer('policy-document-syntax', `${where}${error.path}: ${error.message}`)
  }
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new InvalidAnswer('policy-document-syntax', `${where} is a string that is not JSON`)
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function show(value: unknown): string {
  if (value === undefined) return 'missing'
  const text = JSON.stringify(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}
