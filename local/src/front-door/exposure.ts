/** What there is to say of an address that is listened on; nothing if it is this machine's alone. */
export function exposureWarnings(address: string, port: number): string[] {
  if (/^(::ffff:)?127\.|^::1$/.test(address)) return []
  return [
    `the endpoint listens on ${address}, port ${port}, which is not loopback: everybody who reaches this ` +
      'machine can call your handlers there; leave out the option host unless that is meant',
  ]
}
