/** The few ASN.1 DER encodings that an X.509 certificate needs. */

export const sequence = (...items: Buffer[]): Buffer => element(0x30, ...items)
export const set = (...items: Buffer[]): Buffer => element(0x31, ...items)
export const octetString = (content: Buffer): Buffer => element(0x04, content)
export const utf8String = (text: string): Buffer => element(0x0c, Buffer.from(text))
export const bitString = (content: Buffer, unusedBits = 0): Buffer =>
  element(0x03, Buffer.from([unusedBits]), content)
export const TRUE = Buffer.from([0x01, 0x01, 0xff])

/** A non-negative integer from big-endian bytes. */
export function integer(bytes: Buffer): Buffer {
  let start = 0
  while (start < bytes.length - 1 && bytes[start] === 0) start++
  const magnitude = bytes.subarray(start)
  return element(0x02, magnitude[0]! & 0x80 ? Buffer.concat([Buffer.of(0), magnitude]) : magnitude)
}

export function objectIdentifier(dotted: string): Buffer {
  const [first, second, ...rest] = dotted.split('.').map(Number)
  const bytes = [first! * 40 + second!]
  for (const arc of rest) {
    const septets = [arc & 0x7f]
    for (let high = Math.floor(arc / 128); high > 0; high = Math.floor(high / 128)) {
      septets.unshift((high & 0x7f) | 0x80)
    }
    bytes.push(...septets)
  }
  return element(0x06, Buffer.from(bytes))
}

/** X.509 wants UTCTime up to 2049 and GeneralizedTime from 2050. */
export function time(date: Date): Buffer {
  const digits = date.toISOString().replace(/[-:T]|\.\d+/g, '')
  return date.getUTCFullYear() < 2050
    ? element(0x17, Buffer.from(digits.slice(2)))
    : element(0x18, Buffer.from(digits))
}

/** A context-specific tag: `[number]`, constructed (EXPLICIT) or primitive (IMPLICIT). */
export const context = (number: number, constructed: boolean, ...items: Buffer[]): Buffer =>
  element(0x80 | (constructed ? 0x20 : 0) | number, ...items)

function element(tag: number, ...items: Buffer[]): Buffer {
  const content = Buffer.concat(items)
  return Buffer.concat([Buffer.from([tag]), length(content.length), content])
}

function length(value: number): Buffer {
  if (value < 0x80) return Buffer.from([value])
  if (value < 0x100) return Buffer.from([0x81, value])
  return Buffer.from([0x82, value >> 8, value & 0xff])
}
