// Walks the way of a connection once, and says what is wrong with it.
import { createPublicKey, verify, type KeyObject } from 'node:crypto'
import type * as api from '../index.js'
import { CredentialsSource } from './credentials.js'
import { MqttError, invalidOption } from './errors.js'
import { isolated } from './isolated.js'
import { native, type NativeDiagnosis, type NativePassage, type NativeSignedToken } from './native.js'
import { checkDiagnoseOptions, nativeOptions } from './options.js'
import { onAbort } from './signals.js'
import { conclude } from './verdict.js'

/** Those under way: what nobody holds any more would end. */
const running = new Set<NativeDiagnosis>()

/** With `clientIdIsNobodys` the client id was made up, and there is no session to keep. */
export async function diagnose(
  options: api.DiagnoseOptions,
  clientIdIsNobodys = false,
): Promise<api.Diagnosis> {
  const { topic, takeOver, probePublish, publicKey, onStep, ...given } = checkDiagnoseOptions(options)
  const { credentials: source, signal } = given
  signal?.throwIfAborted()
  const key = publicKey === undefined ? undefined : readPublicKey(publicKey)
  const isSomebodys = given.clientId !== undefined && given.clientId !== '' && !clientIdIsNobodys
  // A wrong option is told as one, before the app's function is asked.
  const walk = native.diagnose(nativeOptions(given), {
    keepSession: isSomebodys,
    publish: probePublish === true,
    ...(topic !== undefined && { topic }),
    ...(isSomebodys && takeOver !== true && { skipConnect: SKIPPED }),
  })
  if ('code' in walk) throw new MqttError(walk)

  const steps: api.DiagnosisStep[] = []
  const tell = (step: api.DiagnosisStep): void => {
    steps.push(step)
    if (onStep !== undefined) isolated(() => onStep(step))
  }
  const refusal = source && (await askCredentials(walk, source, signal, tell))
  signal?.throwIfAborted()
  const { login } = walk
  const end = refusal === undefined ? await go(walk, key, signal, tell) : { error: refusal, refused: false }
  return conclude({ ...given, topic, clientId: walk.clientId, login }, { steps, ...end })
}

/** How the way ended. */
interface End {
  error: MqttError | undefined
  refused: boolean
}

/** @throws the signal's reason, at once. */
async function go(
  walk: NativeDiagnosis,
  key: KeyObject | undefined,
  signal: AbortSignal | undefined,
  tell: (step: api.DiagnosisStep) => void,
): Promise<End> {
  const checked = key && checkSignature(walk.signedToken, key)
  let abort: (() => void) | undefined
  running.add(walk)
  try {
    return await new Promise<End>((resolve, reject) => {
      const failure = walk.start(checked?.outcome === 'passed', (passage) => {
        if (signal?.aborted) return
        const error = passage.failure && new MqttError(passage.failure)
        if (passage.name === 'end') return resolve({ error, refused: passage.refused })
        tell(stepOf(passage, error))
        if (passage.name === 'login' && checked !== undefined) tell(checked)
      })
      if (failure !== null) return reject(new MqttError(failure))
      if (signal === undefined) return
      abort = () => {
        walk.stop()
        reject(signal.reason as Error)
      }
      onAbort(signal, abort)
    })
  } finally {
    if (abort !== undefined) signal?.removeEventListener('abort', abort)
    running.delete(walk)
  }
}

const SKIPPED =
  'a client id was given, and CONNECT would throw out whoever uses it now: allow that with takeOver, and mqttVersion as the device has it; or leave clientId out if the policy allows any'

function stepOf(passage: NativePassage, error: MqttError | undefined): api.DiagnosisStep {
  const { name, tookMs, seen, skipped } = passage
  return {
    name: name as api.DiagnosisStep['name'],
    outcome: error !== undefined ? 'failed' : skipped !== undefined ? 'skipped' : 'passed',
    durationMs: rounded(tookMs),
    seen: skipped === undefined ? seen : [skipped],
    ...(error !== undefined && { error }),
  }
}

/** As for the first attempt of a connection. @throws the signal's reason, at once. */
async function askCredentials(
  walk: NativeDiagnosis,
  source: NonNullable<api.ConnectOptions['credentials']>,
  signal: AbortSignal | undefined,
  tell: (step: api.DiagnosisStep) => void,
): Promise<MqttError | undefined> {
  const asked = new CredentialsSource(source)
  const begun = performance.now()
  let timer: NodeJS.Timeout | undefined
  let abort: (() => void) | undefined
  try {
    await new Promise<void>((resolve, reject) => {
      const overdue = () => {
        walk.credentialsOverdue()
        resolve()
      }
      timer = setTimeout(overdue, walk.credentialsTimeoutMs)
      if (signal !== undefined) {
        abort = () => {
          asked.expire()
          reject(signal.reason as Error)
        }
        onAbort(signal, abort)
      }
      void asked.ask(walk, 1, undefined).then(resolve)
    })
  } finally {
    clearTimeout(timer)
    if (abort !== undefined) signal?.removeEventListener('abort', abort)
    asked.expire()
  }
  const failure = walk.credentialsFailure
  const error = failure === null ? undefined : new MqttError(failure, asked.thrown)
  tell({
    name: 'credentials',
    outcome: error === undefined ? 'passed' : 'failed',
    durationMs: rounded(performance.now() - begun),
    seen: ['asked the function `credentials`'],
    ...(error !== undefined && { error }),
  })
  return error
}

function readPublicKey(key: string | Uint8Array | KeyObject): KeyObject {
  try {
    const isObject = typeof key === 'object' && 'type' in key
    const text = isObject ? '' : Buffer.from(key as string).toString('latin1')
    const read = isObject ? key : createPublicKey(text)
    const isPublic = read.type === 'public' && !text.includes('PRIVATE KEY')
    if (isPublic && read.asymmetricKeyType === 'rsa') return read
  } catch {
    // Told below, without OpenSSL's words.
  }
  throw invalidOption(
    'publicKey is no RSA public key in PEM',
    'Give what the authorizer has: it begins with -----BEGIN PUBLIC KEY-----.',
  )
}

/** As IoT Core does: RSASSA-PKCS1-v1_5 with SHA-256 over the token's bytes. */
function checkSignature(token: NativeSignedToken | null, key: KeyObject): api.DiagnosisStep {
  const step = { name: 'signature' as const, durationMs: 0 }
  if (token === null) {
    return { ...step, outcome: 'skipped', seen: ['no token with a signature was given'] }
  }
  if (verify('RSA-SHA256', Buffer.from(token.value), key, Buffer.from(token.signature, 'base64'))) {
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

const rounded = (milliseconds: number): number => Math.round(milliseconds * 10) / 10
