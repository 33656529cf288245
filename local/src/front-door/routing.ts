import { isMqttOnly, type Domain, type Domains } from './domains'
import { Refusal } from '../connection/refusal'

export const MQTT = 'mqtt'
export const MQTT_X509 = 'x-amzn-mqtt-ca'
export const HTTP = 'http/1.1'

/** What the first byte says that a client is about to speak. */
export type Opening = 'mqtt' | 'http' | 'unknown'

/** What is known of a client before its first request. */
export interface Arrival {
  alpn: string | undefined
  serverName: string | undefined
  opening: Opening
  hasCertificate: boolean
}

/** CONNECT begins with 0x10, an HTTP request with a capital letter. */
export function recognize(chunk: Buffer): Opening {
  const first = chunk[0]!
  if (first === 0x10) return 'mqtt'
  return first >= 0x41 && first <= 0x5a ? 'http' : 'unknown'
}

/**
 * Why a TLS connection may not go on; undefined if it may. HTTP is let through to where its Host header
 * can stand in for a server name.
 */
export function judge(arrival: Arrival, domains: Domains): Refusal | undefined {
  const { alpn, serverName, opening, hasCertificate } = arrival
  if (opening === 'unknown') return refuse('not-mqtt', 'what the client sent is neither MQTT nor HTTP')
  if (alpn === MQTT_X509) {
    return refuse(
      'alpn-needs-certificate',
      `ALPN "${MQTT_X509}" is for client certificates without an authorizer; offer "${MQTT}"`,
    )
  }
  if (opening === 'http') {
    return alpn === MQTT
      ? refuse(
          'alpn-not-for-websocket',
          `ALPN "${MQTT}" is for MQTT over TLS; for WebSocket offer none, or "${HTTP}"`,
        )
      : undefined
  }
  const domain = domains.find(serverName)
  if (alpn === HTTP) {
    return refuse('alpn-not-for-mqtt', `ALPN "${HTTP}" is for WebSocket; for MQTT over TLS offer "${MQTT}"`)
  }
  if (alpn === undefined && !(domain && isMqttOnly(domain))) {
    return refuse(
      'alpn-missing',
      `the client offered no ALPN; MQTT with custom authentication needs "${MQTT}"`,
    )
  }
  return judgeServerName(serverName, domain, domains) ?? judgeMqtt(domain!, serverName!, hasCertificate)
}

/** For WebSocket the name may come from the Host header, which is why this is judged with the request. */
export function judgeWebSocket(serverName: string | undefined, domains: Domains): Refusal | undefined {
  const domain = domains.find(serverName)
  const refusal = judgeServerName(serverName, domain, domains)
  if (refusal !== undefined || !isMqttOnly(domain!)) return refusal
  return refuse('domain-not-for-websocket', `the domain "${serverName}" is for MQTT over TLS alone`)
}

/** Why a TLS handshake failed. */
export function describeTlsError(error: NodeJS.ErrnoException): Refusal {
  const refuse = (rule: string, message: string): Refusal => new Refusal('tls', rule, message)
  const code = error.code ?? ''
  if (/NO_APPLICATION_PROTOCOL/.test(code)) {
    return refuse(
      'alpn-unknown',
      `the client offered no ALPN protocol that is known here; custom authentication needs "${MQTT}"`,
    )
  }
  if (/UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_UNKNOWN|UNSUPPORTED_CERTIFICATE/.test(code)) {
    return refuse(
      'certificate-not-trusted',
      `the client does not accept the certificate; give it the caFile (${code})`,
    )
  }
  if (/HTTP_REQUEST|WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG/.test(code)) {
    return refuse('not-tls', `the client does not speak TLS (${code})`)
  }
  if (/UNSUPPORTED_PROTOCOL|VERSION_TOO_LOW|ALERT_PROTOCOL_VERSION/.test(code)) {
    return refuse('tls-version', `TLS 1.2 or 1.3 is needed (${code})`)
  }
  if (/HANDSHAKE_TIMEOUT/.test(code)) {
    return refuse('handshake-timeout', 'the client did not finish the TLS handshake in time')
  }
  if (code === 'ECONNRESET') return refuse('handshake-aborted', 'the client left during the TLS handshake')
  return refuse('handshake-failed', `the TLS handshake failed: ${error.message}`)
}

function judgeServerName(
  serverName: string | undefined,
  domain: Domain | undefined,
  { names }: Domains,
): Refusal | undefined {
  if (serverName === undefined) {
    return refuse(
      'server-name-missing',
      'the client sent no server name (SNI), so there is no account to ask; connect to a name and not to an address',
    )
  }
  if (domain === undefined) {
    const message =
      `the server name "${serverName}" (SNI) is none of this endpoint's: ${names.join(', ')}; ` +
      'connect to one of them, or add it (option hostNames, --host-name)'
    return refuse('server-name-unknown', message)
  }
  if (domain.domainConfigurationStatus === 'DISABLED') {
    return refuse('domain-disabled', `the domain configuration of "${serverName}" is DISABLED`)
  }
  return undefined
}

function judgeMqtt(domain: Domain, serverName: string, hasCertificate: boolean): Refusal | undefined {
  if (domain.applicationProtocol === 'MQTT_WSS') {
    return refuse('domain-not-for-mqtt', `the domain "${serverName}" is for MQTT over WebSocket alone`)
  }
  const wantsCertificate = domain.authenticationType === 'CUSTOM_AUTH_X509'
  if (wantsCertificate && !hasCertificate) {
    return refuse(
      'certificate-missing',
      `the domain "${serverName}" (CUSTOM_AUTH_X509) wants a client certificate`,
    )
  }
  if (!wantsCertificate && hasCertificate) {
    return refuse(
      'certificate-not-expected',
      `the client sent a certificate; with ALPN "${MQTT}" only a domain with CUSTOM_AUTH_X509 takes one`,
    )
  }
  return undefined
}

const refuse = (rule: string, message: string): Refusal => new Refusal('front-door', rule, message)
