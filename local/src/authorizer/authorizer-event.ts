import type { Domain } from '../front-door/domains'

/** The event that IoT Core hands to an authorizer's Lambda function. Fields that do not apply are left out. */
export interface AuthorizerEvent {
  /** The value of the authorizer's token parameter. */
  token?: string
  signatureVerified: boolean
  protocols: AuthorizerProtocol[]
  protocolData: {
    tls?: {
      serverName: string
      /** These two where the domain wants a client certificate (CUSTOM_AUTH_X509). */
      x509CertificatePem?: string
      /** The certificate's id; the answer's `principalId` has to be the same. */
      principalId?: string
    }
    http?: HttpRequest
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

/** The request that opened a WebSocket. */
export interface HttpRequest {
  /** By lower-case name. */
  headers: Record<string, string>
  /** Empty, or `?` and what follows it. */
  queryString: string
}

export interface ClientCertificate {
  pem: string
  /** SHA-256 of the certificate's DER form, lower-case hexadecimal. */
  id: string
}

/** What a connection brings along to be authenticated by. */
export interface AuthorizerRequest {
  connectionId: string
  serverName?: string
  /** The settings behind the server name. */
  domain?: Domain
  certificate?: ClientCertificate
  http?: HttpRequest
  mqtt?: { username?: string; password?: Buffer; clientId?: string }
}

export function createAuthorizerEvent(
  request: AuthorizerRequest,
  token: string | undefined,
  signatureVerified: boolean,
): AuthorizerEvent {
  const { serverName, certificate, http, mqtt } = request
  const protocols: AuthorizerProtocol[] = []
  const protocolData: AuthorizerEvent['protocolData'] = {}
  if (serverName !== undefined) {
    protocols.push('tls')
    protocolData.tls = {
      serverName,
      ...(certificate !== undefined && {
        x509CertificatePem: certificate.pem,
        principalId: certificate.id,
      }),
    }
  }
  if (http !== undefined) {
    protocols.push('http')
    protocolData.http = http
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
