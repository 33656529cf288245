import type { Decision } from '../policy/policy'

/** Which part of the front door turned a connection away. */
export type RefusalStage = 'tls' | 'front-door' | 'connect' | 'signature' | 'authorizer' | 'policy'

/** CONNACK codes of MQTT 3.1.1 ("return code") and MQTT 5 ("reason code"). */
export interface ConnackCodes {
  returnCode: number
  reasonCode: number
}

export const NOT_AUTHORIZED: ConnackCodes = { returnCode: 5, reasonCode: 0x87 }

/** Why a connection does not get its CONNACK 0. `rule` names the one check that failed. */
export class Refusal extends Error {
  override readonly name = 'Refusal'

  constructor(
    readonly stage: RefusalStage,
    readonly rule: string,
    message: string,
    readonly codes: ConnackCodes = NOT_AUTHORIZED,
    readonly decision?: Decision,
  ) {
    super(message)
  }
}
