import { randomUUID } from 'node:crypto'

/** The part of Lambda's context object that an authorizer can make use of here. */
export interface LambdaContext extends LambdaContextData {
  getRemainingTimeInMillis(): number
}

/** What of it can be written as JSON, so that it can go to another thread. */
export interface LambdaContextData {
  callbackWaitsForEmptyEventLoop: boolean
  functionName: string
  functionVersion: string
  invokedFunctionArn: string
  memoryLimitInMB: string
  awsRequestId: string
  logGroupName: string
  logStreamName: string
}

export interface FunctionIdentity {
  /** The name that the function goes by: the authorizer's. */
  name: string
  region: string
  accountId: string
}

export function createContextData({ name, region, accountId }: FunctionIdentity): LambdaContextData {
  const requestId = randomUUID()
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: name,
    functionVersion: '$LATEST',
    invokedFunctionArn: `arn:aws:lambda:${region}:${accountId}:function:${name}`,
    memoryLimitInMB: '128',
    awsRequestId: requestId,
    logGroupName: `/aws/lambda/${name}`,
    logStreamName: `local/[$LATEST]${requestId.replaceAll('-', '')}`,
  }
}

export function createContext(data: LambdaContextData, remainingMs: () => number): LambdaContext {
  return { ...data, getRemainingTimeInMillis: () => Math.max(0, remainingMs()) }
}
