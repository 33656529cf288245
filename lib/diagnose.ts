// Walks the way of a connection once, and says what is wrong with it.
import { createPublicKey, randomUUID, verify, type KeyObject } from 'node:crypto'
import type * as api from '../index.js'
import { MqttError, invalidOption } from './errors.js'
import { isolated } from './isolated.js'
import { native, type NativePassage } from './native.js'
import { checkDiagnoseOptions, freshCredentials, nativeOptions } from './options.js'
import { onAbort } from './signals.js'
import { conclude } from './verdict.js'

export async function diagnose(options: api.DiagnoseOptions): Promise<api.Diagnosis> {
  const { onStep, signal } = checkDiagnoseOptions(options)
  signal?.throwIfAborted()
  let told = true
  const tell = (step: api.DiagnosisStep): void => {
    if (told && onStep !== undefined) isolated(() => onStep(step))
  }
  if (signal === undefined) return walk(options, tell)
  let abort!: () => void
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason as Error)
    onAbort(signal, abort)
  })
  try {
    return await Promise.race([walk(options, tell), aborted])
  } finally {
    told = false
    signal.removeEventListener('abort', abort)
  }
}

async function walk(
  options: api.DiagnoseOptions,
  onStep: (step: api.DiagnosisStep) => void,
): Promise<api.Diagnosis> {
  const { topic, takeOver, probePublish, publicKey, onStep: _onStep, ...given } = options
  const key = publicKey === undefined ? undefined : readPublicKey(publicKey)
  // A wrong option is told as one, before the app's function is asked.
  nativeOptions(given)
  const clientIdGiven = given.clientId !== undefined
  const clientId = given.clientId ?? `client-${randomUUID()}`
  const steps: api.DiagnosisStep[] = []
  const tell = (step: api.DiagnosisStep): void => {
    steps.push(step)
    onStep(step)
  }
  const { credentials: source, ...fixed } = given
  const login = source === undefined ? fixed : await askCredentials(source, { ...fixed, clientId }, tell)
  if (login instanceof MqttError) return conclude(options, { steps, warnings: [], error: login, clientId })

  const checked = key && checkSignature(login, key)
  const probes = {
    signatureVerified: checked?.outcome === 'passed',
    keepSession: clientIdGiven,
    publish: probePublish === true,
    ...(topic !== undefined && { topic }),
    ...(clientIdGiven && takeOver !== true && { skipConnect: SKIPPED }),
  }
  const { promise: ended, resolve: end } = withResolvers<MqttError | undefined>()
  const begun = native.diagnose(nativeOptions({ ...login, clientId }), probes, (passage) => {
    const error = passage.failure && new MqttError(passage.failure)
    if (passage.name === 'end') return end(error)
    tell(stepOf(passage, error))
    if (passage.name === 'login' && checked !== undefined) tell(checked)
  })
  if ('code' in begun) throw new MqttError(begun)
  const error = await ended
  return conclude({ ...options, ...login }, { steps, warnings: begun.warnings, error, clientId })
}

const SKIPPED =
  'a client id was given, and CONNECT would throw out whoever uses it now: allow that with takeOver (--take_over), or leave clientId out if the policy allows any'

function stepOf(passage: NativePassage, error: MqttError | undefined): api.DiagnosisStep {
  const { name, tookMs, seen, skipped } = passage
  return {
    name: name as api.DiagnosisStep['name'],
    outcome: error !== undefined ? 'failed' : skipped !== undefined ? 'skipped' : 'passed',
    durationMs: Math.round(tookMs * 10) / 10,
    seen: skipped === undefined ? seen : [skipped],
    ...(error !== undefined && { error }),
  }
}

/** What the app's function gives goes over what is fixed, as for a connection. */
async function askCredentials(
  source: NonNullable<api.ConnectOptions['credentials']>,
  fixed: Omit<api.ConnectOptions, 'credentials'> & { clientId: string },
  tell: (step: api.DiagnosisStep) => void,
): Promise<Omit<api.ConnectOptions, 'credentials'> | MqttError> {
  const { clientId, credentialsTimeoutMs = 30_000 } = fixed
  const controller = new AbortController()
  const begun = performance.now()
  let timer: NodeJS.Timeout | undefined
  const step = { name: 'credentials' as const, seen: ['asked the function `credentials`'] }
  const durationMs = (): number => Math.round((performance.now() - begun) * 10) / 10
  try {
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`no answer within ${credentialsTimeoutMs} ms`)),
        credentialsTimeoutMs,
      )
    })
    const asked = Promise.resolve(source({ number: 1, clientId, signal: controller.signal }))
    const answer = await Promise.race([asked, late])
    freshCredentials(answer)
    const { expiresAt: _expiresAt, ...fresh } = answer
    tell({ ...step, outcome: 'passed', durationMs: durationMs() })
    return { ...fixed, ...fresh }
  } catch (cause) {
    const failure = {
      code: 'ERR_CREDENTIALS',
      stage: 'credentials',
      message: 'credentials() failed or gave nothing usable',
      hint: "Look at the cause: it comes from the app's own function `credentials`.",
      retryable: true,
    } as const
    const error = new MqttError(failure, cause)
    tell({ ...step, outcome: 'failed', durationMs: durationMs(), error })
    return error
  } finally {
    clearTimeout(timer)
    controller.abort()
  }
}

function readPublicKey(key: string | Uint8Array | KeyObject): KeyObject {
  try {
    const isObject = typeof key === 'object' && 'type' in key
    const read = isObject ? key : createPublicKey(typeof key === 'string' ? key : Buffer.from(key))
    if (read.type === 'public' && read.asymmetricKeyType === 'rsa') return read
  } catch {
    // Told below, without OpenSSL's words.
  }
  throw invalidOption(
    'publicKey is no RSA public key in PEM',
    'Give what the authorizer has: it begins with -----BEGIN PUBLIC KEY-----.',
  )
}

/** As IoT Core does: RSASSA-PKCS1-v1_5 with SHA-256 over the token's bytes. */
function checkSignature(
  { tokenValue, tokenSignature, tokenSigningKey }: api.CustomAuthorizerCredentials,
  key: KeyObject,
): api.DiagnosisStep {
  const step = { name: 'signature' as const, durationMs: 0 }
  if (tokenValue === undefined || (tokenSignature === undefined && tokenSigningKey === undefined)) {
    return { ...step, outcome: 'skipped', seen: ['no token with a signature was given'] }
  }
  const signature = tokenSignature ?? native.signToken(tokenValue, Buffer.from(exported(tokenSigningKey!)))
  const bytes = typeof signature === 'string' ? Buffer.from(decoded(signature), 'base64') : Buffer.alloc(0)
  if (verify('RSA-SHA256', Buffer.from(tokenValue), key, bytes)) {
    return { ...step, outcome: 'passed', seen: ['the signature is one of this token by the public key'] }
  }
  const failure = {
    code: 'ERR_INVALID_OPTION',
    stage: 'options',
    message: 'the signature is not one of this token by the public key',
    hint: 'In order of likelihood: the token was changed after it was signed, or signed with a line feed at its end; another private key signed it; it was signed with another algorithm than RSASSA-PKCS1-v1_5 with SHA-256.',
    retryable: false,
  } as const
  return { ...step, outcome: 'failed', seen: [], error: new MqttError(failure) }
}

function exported(key: NonNullable<api.CustomAuthorizerCredentials['tokenSigningKey']>): string | Uint8Array {
  return typeof key === 'object' && 'export' in key ? key.export({ type: 'pkcs8', format: 'der' }) : key
}

/** Percent-encoded or not, base64 or base64url: Buffer reads both alphabets. */
function decoded(signature: string): string {
  try {
    return decodeURIComponent(signature)
  } catch {
    return signature
  }
}

function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void
  const promise = new Promise<T>((settle) => (resolve = settle))
  return { promise, resolve }
}
