import { types } from 'node:util'
import type { Payload } from '../index.js'
import { invalidOption } from './errors.js'

/** The bytes of what is published: text as UTF-8, bytes as they are, a plain object or array as JSON. */
export function payloadBytes(payload: Payload, name = 'payload'): Uint8Array {
  if (typeof payload === 'string') return Buffer.from(payload)
  if (payload instanceof Uint8Array) return payload
  if (ArrayBuffer.isView(payload))
    return new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength)
  // Also those of another realm: test runners have one of their own.
  if (types.isAnyArrayBuffer(payload)) return new Uint8Array(payload)
  if (Array.isArray(payload) || isPlainObject(payload)) return Buffer.from(json(payload, name))
  throw invalidOption(
    `${name} must be a string, bytes, a plain object or an array; got ${kind(payload)}`,
    'Convert anything else yourself, so that its form on the wire is yours to choose: String(value) for a number, for example.',
  )
}

function isPlainObject(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

function json(payload: object, name: string): string {
  let text: string | undefined
  try {
    text = JSON.stringify(payload)
  } catch (error) {
    throw invalidOption(`${name} cannot be written as JSON: ${(error as Error).message}`)
  }
  if (text === undefined) throw invalidOption(`${name} cannot be written as JSON: its toJSON gives nothing`)
  return text
}

function kind(value: unknown): string {
  if (value === null) return 'null'
  return typeof value === 'object' ? (value.constructor?.name ?? 'an object') : typeof value
}
