export { startLocalEndpoint } from './endpoint'
export type { LocalEndpoint, LocalEndpointOptions } from './endpoint'
export type { Authorizer, HandlerInvocation } from './authorizer/authorizer'
export type { AuthorizerEvent, AuthorizerProtocol } from './authorizer/authorizer-event'
export type { LambdaCallback } from './handler/handler-function'
export type { LambdaApiFunction } from './handler/lambda-api'
export type { LambdaContext } from './handler/lambda-context'
export type { Domain } from './front-door/domains'
export { createManualClock, systemClock } from './clock'
export type { Clock, ClockTimer, ManualClock } from './clock'
export type { Choices } from './choices'
export type { Profile } from './connection/connection-services'
export type { ConnectionHandle } from './faults/connection-handle'
export type { DisconnectReason, FaultApplied, LocalEvent } from './events'
export type {
  Fault,
  FaultAction,
  FaultActionName,
  FaultDirection,
  PacketKind,
  Redelivery,
} from './faults/fault'
export type { FaultHandle, Faults } from './faults/faults'
export type { Decision, PolicyAction } from './policy/policy'
export { explainDecision } from './policy/policy'
export { IOT_CORE_LIMITS } from './limits'
export type { Limits } from './limits'
export type { RefusalStage } from './connection/refusal'
export type { TestInvocation, TestInvocationResult } from './authorizer/test-invoke'
