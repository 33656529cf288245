/** The event that IoT Core hands to an authorizer's Lambda function. Fields that do not apply are left out. */
export interface AuthorizerEvent {
  /** The value of the authorizer's token parameter. */
  token?: string
  signatureVerified: boolean
  protocols: AuthorizerProtocol[]
  protocolData: {
    tls?: { serverName: string }
    http?: { headers: Record<string, string>; queryString: string }
    mqtt?: {
      /** The whole user name, parameters included. */
      username?: string
      /** base64 */
      password?: string
      clientId?: string
    }
  }
  connectionMetadata: { id: string }
}

export type AuthorizerProtocol = 'tls' | 'http' | 'mqtt'

/** What a connection brings along to be authenticated by. */
export interface AuthorizerRequest {
  connectionId: string
  serverName?: string
  mqtt?: { username?: string; password?: Buffer; clientId?: string }
}

export function createAuthorizerEvent(
  request: AuthorizerRequest,
  token: string | undefined,
  signatureVerified: boolean,
): AuthorizerEvent {
  const { serverName, mqtt } = request
  const protocols: AuthorizerProtocol[] = []
  const protocolData: AuthorizerEvent['protocolData'] = {}
  if (serverName !== undefined) {
    protocols.push('tls')
    protocolData.tls = { serverName }
  }
  if (mqtt !== undefined) {
    protocols.push('mqtt')
    protocolData.mqtt = {
      ...(mqtt.username !== undefined && { username: mqtt.username }),
      ...(mqtt.password !== undefined && { password: mqtt.password.toString('base64') }),
      ...(mqtt.clientId && { clientId: mqtt.clientId }),
    }
  }
  return {
    ...(token !== undefined && { token }),
    signatureVerified,
    protocols,
    protocolData,
    connectionMetadata: { id: request.connectionId },
  }
}
