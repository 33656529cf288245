import { randomUUID } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Authorizers, type Authorizer, type HandlerInvocation } from './authorizer/authorizer'
import { Broker } from './broker/broker'
import { createServerCredentials } from './front-door/certificates'
import { readChoices, type Choices } from './choices'
import { systemClock, type Clock } from './clock'
import { ConnectRate } from './connection/connect-rate'
import type { ConnectionServices, Profile } from './connection/connection-services'
import type { ConnectionHandle } from './faults/connection-handle'
import { Journal, type LocalEvent } from './events'
import type { Fault } from './faults/fault'
import { FaultRegistry, type Faults } from './faults/faults'
import { checkDomains, Domains, type Domain } from './front-door/domains'
import { exposureWarnings } from './front-door/exposure'
import { FrontDoor } from './front-door/front-door'
import { Lifecycle } from './broker/lifecycle'
import { readLimits, type Limits } from './limits'
import { checkOptions } from './options'
import {
  testInvokeAuthorizer,
  type TestInvocation,
  type TestInvocationResult,
} from './authorizer/test-invoke'

export interface LocalEndpointOptions {
  /** The account's authorizers by name. */
  authorizers: Record<string, Authorizer>
  /** Used for a CONNECT that names no authorizer. */
  defaultAuthorizer?: string
  /** Settings by server name (SNI). */
  domains?: Record<string, Domain>
  /** 0, the default, lets the system choose. */
  port?: number
  /** The address to listen on, by default 127.0.0.1. */
  host?: string
  /** Further names for the certificate and for the server names (SNI) that are answered. */
  hostNames?: string[]
  /** These two make up the ARNs that policies are matched against. */
  region?: string
  accountId?: string
  /**
   * `aws`, the default, refuses as IoT Core does: often by closing without a word.
   * `friendly` answers with a reason wherever the protocol has room for one.
   */
  profile?: Profile
  /** Numbers to use in place of IoT Core's. */
  limits?: Partial<Limits>
  /** What goes wrong, from the start; `LocalEndpoint.faults` adds more. */
  faults?: Fault[]
  /** What to do where AWS does not say what it does. */
  choices?: Partial<Choices>
  /** Where time comes from; a test gives `createManualClock()` and moves it. */
  clock?: Clock
  /** Called with each event as it happens. */
  log?: (event: LocalEvent) => void
  /** Called when a handler is called, and again with the same object once it has answered or failed. May hold secrets. */
  onInvocation?: (invocation: HandlerInvocation) => void
}

/** An IoT Core endpoint that runs in this process. */
export interface LocalEndpoint extends AsyncDisposable {
  /** What a client connects to; it resolves to this machine. */
  readonly endpoint: string
  readonly port: number
  /** A PEM file with the certificate authority to trust; `close` removes it. */
  readonly caFile: string
  /** The same as text. */
  readonly ca: string
  /** Every call of a handler, with what went in and what came out. May hold secrets. */
  readonly invocations: readonly HandlerInvocation[]
  /** What happened, in order. Holds no secrets. */
  readonly events: readonly LocalEvent[]
  /** For tests: what goes wrong at which packet. */
  readonly faults: Faults
  /** For tests: the MQTT connections of this moment, accepted or not yet, the oldest first. */
  readonly connections: readonly ConnectionHandle[]
  /** What its owner should know about the way it was started; each is a `warning` event too. */
  readonly warnings: readonly string[]
  /** Calls an authorizer without a connection, as `aws iot test-invoke-authorizer` does. */
  testInvokeAuthorizer(invocation: TestInvocation): Promise<TestInvocationResult>
  /** Disconnects everybody and stops listening. */
  close(): Promise<void>
}

const ENDPOINT = 'localhost'
export const DEFAULT_REGION = 'us-east-1'
export const DEFAULT_ACCOUNT_ID = '123456789012'

export async function startLocalEndpoint(options: LocalEndpointOptions): Promise<LocalEndpoint> {
  checkOptions(options)
  const {
    authorizers: table,
    defaultAuthorizer,
    domains: domainTable = {},
    port: wantedPort = 0,
    host = '127.0.0.1',
    hostNames = [],
    region = DEFAULT_REGION,
    accountId = DEFAULT_ACCOUNT_ID,
    profile = 'aws',
    clock = systemClock,
  } = options
  if (profile !== 'aws' && profile !== 'friendly') throw new TypeError('profile must be "aws" or "friendly"')
  const limits = readLimits(options.limits)
  const choices = readChoices(options.choices, profile)
  const journal = new Journal(limits, options.log, clock)
  const faults = new FaultRegistry(journal, options.faults, clock)
  const authorizers = new Authorizers({
    authorizers: table,
    defaultAuthorizer,
    region,
    accountId,
    limits,
    choices,
    clock,
    journal,
    onInvocation: options.onInvocation,
  })
  checkDomains(domainTable, Object.keys(table), defaultAuthorizer)
  const broker = new Broker(limits, clock)
  const services: ConnectionServices = {
    profile,
    choices,
    clock,
    region,
    accountId,
    limits,
    journal,
    authorizers,
    broker,
    faults,
    lifecycle: new Lifecycle(broker, clock, limits.storedSessions),
    connectRate: new ConnectRate(clock, limits.connectsPerSecond),
    outputTotal: { bytes: 0 },
  }
  const domains = new Domains(domainTable, [ENDPOINT, `*.iot.${region}.amazonaws.com`, ...hostNames])
  const credentials = createServerCredentials([...domains.names, '127.0.0.1', '::1'])
  const frontDoor = new FrontDoor({ credentials, domains, services })
  const directory = await createTemporaryFolder()
  const caFile = join(directory, 'ca.pem')
  const closeAll = async (): Promise<void> => {
    await frontDoor.close()
    await authorizers.close()
    faults.close()
    broker.clear()
    await rm(directory, { recursive: true, force: true })
  }
  const start = async (): Promise<AddressInfo> => {
    await writeFile(caFile, credentials.ca)
    await authorizers.start()
    return frontDoor.listen(wantedPort, host)
  }
  const { port, address } = await start().catch(async (error: unknown) => {
    await closeAll()
    throw error
  })
  const warnings = exposureWarnings(address, port)
  for (const message of warnings) journal.record({ type: 'warning', message })

  let closing: Promise<void> | undefined
  return {
    endpoint: ENDPOINT,
    port,
    caFile,
    ca: credentials.ca,
    invocations: authorizers.invocations,
    events: journal.events,
    faults,
    get connections() {
      return faults.connections
    },
    warnings,
    testInvokeAuthorizer: (invocation) => testInvokeAuthorizer(authorizers, randomUUID(), invocation),
    close: () => (closing ??= closeAll()),
    [Symbol.asyncDispose]: () => (closing ??= closeAll()),
  }
}

async function createTemporaryFolder(): Promise<string> {
  try {
    return await mkdtemp(join(tmpdir(), 'custom-authorizer-local-'))
  } catch (error) {
    throw new Error(
      `the file of the CA certificate needs a folder in ${tmpdir()}, and none can be made there: ` +
        `${(error as Error).message}; set TMPDIR (TEMP on Windows) to a folder that can be written to`,
      { cause: error },
    )
  }
}
