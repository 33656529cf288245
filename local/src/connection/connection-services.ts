import type { Authorizers } from '../authorizer/authorizer'
import type { Broker } from '../broker/broker'
import type { Lifecycle } from '../broker/lifecycle'
import type { Holdings } from '../broker/session'
import type { Choices } from '../choices'
import type { Clock } from '../clock'
import type { Journal } from '../events'
import type { FaultRegistry } from '../faults/faults'
import type { Limits } from '../limits'
import type { ConnectRate } from './connect-rate'

/** How IoT Core itself refuses, or with a reason wherever the protocol has room for one. */
export type Profile = 'aws' | 'friendly'

/** What all connections of an endpoint share. */
export interface ConnectionServices {
  profile: Profile
  choices: Choices
  clock: Clock
  region: string
  accountId: string
  limits: Limits
  journal: Journal
  authorizers: Authorizers
  broker: Broker
  faults: FaultRegistry
  lifecycle: Lifecycle
  connectRate: ConnectRate
  /** What waits for slow readers, over all connections. */
  outputTotal: Holdings
}
