// The proxy of a connection: the one that the app names, or the one that the environment names for its endpoint.
import { invalidOption } from './errors.js'
import type { NativeProxy } from './native.js'

/** In the order in which they are asked; an empty one counts as absent. */
const PROXIES = ['https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY']
const EXCEPTIONS = ['no_proxy', 'NO_PROXY']
const FORM =
  'A proxy is written http://user:password@host:port, user name and password percent-encoded: @ is %40, : is %3A, / is %2F, # is %23, % is %25.'

/** Checks how the proxy is written; the addon checks scheme, host name and port. */
export function nativeProxy(
  given: string | URL | undefined,
  endpoint: string,
  port: number | undefined,
  environment: NodeJS.ProcessEnv,
): NativeProxy | undefined {
  if (given === undefined) return undefined
  if (given !== 'environment') return readProxy(given, 'proxy')
  const variable = PROXIES.find((name) => environment[name])
  if (variable === undefined) return undefined
  const exceptions = EXCEPTIONS.map((name) => environment[name]).find(Boolean)
  if (exceptions !== undefined && isException(endpoint, port ?? 443, exceptions)) return undefined
  return readProxy(environment[variable]!, `proxy, which the environment variable ${variable} names,`)
}

/** `name` is what the user calls it. Nothing of the URL gets into an error: any piece may be one of the password. */
function readProxy(given: string | URL, name: string): NativeProxy {
  const text = String(given).trim()
  // Without a scheme the host would be taken for one.
  const href = text.includes('://') ? text : `http://${text}`
  if (!URL.canParse(href)) throw invalidOption(`${name} is not a valid URL`, FORM)
  const url = new URL(href)
  if (url.hostname === '') throw invalidOption(`${name} has no host`, FORM)
  if (!['', '/'].includes(url.pathname) || url.search !== '' || url.hash !== '') {
    throw invalidOption(`${name} has a path, query or fragment, for which a proxy has no use`, FORM)
  }
  const scheme = url.protocol.slice(0, -1)
  const username = decoded(url.username, `the user name of ${name}`)
  const password = decoded(url.password, `the password of ${name}`)
  return {
    // That the proxy resolves the endpoint's name, which the h asks for, is so in any case.
    scheme: scheme === 'socks5h' ? 'socks5' : scheme,
    host: withoutBrackets(url.hostname),
    ...(url.port !== '' && { port: Number(url.port) }),
    ...(username !== '' && { username }),
    ...(password !== '' && { password }),
  }
}

function decoded(text: string, name: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw invalidOption(`${name} is not percent-encoded`, FORM)
  }
}

/** Whether NO_PROXY, separated by commas or white space, names the endpoint. */
function isException(endpoint: string, port: number, exceptions: string): boolean {
  const host = withoutBrackets(endpoint.toLowerCase().replace(/\.$/u, ''))
  return exceptions
    .toLowerCase()
    .split(/[\s,]+/u)
    .some((exception) => covers(exception, host, port))
}

/** An exception is `*`, a name, an address or a network, and may end in a port. */
function covers(exception: string, host: string, port: number): boolean {
  // The colons of an IPv6 address outside brackets separate no port.
  const [, name = exception, onlyPort] = /^(\[[^\]]*\]|[^:]*):(\d+)$/u.exec(exception) ?? []
  if (onlyPort !== undefined && Number(onlyPort) !== port) return false
  if (name === '*') return true
  const { isIP } = require('node:net') as typeof import('node:net')
  // An address has no subdomains: 10.0.0.1 is not below 0.0.1.
  if (isIP(host) !== 0) return networkHolds(withoutBrackets(name), host)
  const domain = name.replace(/^\*?\./u, '').replace(/\.$/u, '')
  return domain !== '' && (host === domain || host.endsWith(`.${domain}`))
}

/** `network` is an address, or one with the length of a prefix. */
function networkHolds(network: string, address: string): boolean {
  const { BlockList, isIP } = require('node:net') as typeof import('node:net')
  const [, base = '', bits] = /^([^/]*)(?:\/(\d{1,3}))?$/u.exec(network) ?? []
  const version = isIP(address)
  const longest = version === 6 ? 128 : 32
  const length = Number(bits ?? longest)
  if (isIP(base) !== version || length > longest) return false
  const family = version === 6 ? 'ipv6' : 'ipv4'
  const list = new BlockList()
  list.addSubnet(base, length, family)
  return list.check(address, family)
}

/** An IPv6 address as it is outside of URLs. */
function withoutBrackets(host: string): string {
  return host.replace(/^\[(.*)\]$/u, '$1')
}
