import { readObject, writeObject, type RawObject } from '@mcp-gateway/protocol'

/** The contents of a legacy session's sealed id, with which any gateway can go on. */
export interface RevivableId {
  /** The session's own id. */
  readonly id: string
  /** The `initialize` with which the client began; undefined if it was too long to carry. */
  readonly greeting: string | undefined
}

/** Clients send the id with each request, and headers have limits. */
const longestGreeting = 3000
const kept = ['protocolVersion', 'capabilities', 'clientInfo'] as const

/** Puts the parts of an `initialize` that a session depends on behind its id. */
export function revivableId(id: string, initialize: string): string {
  const params = readObject(readObject(initialize)?.get('params'))
  const parts: RawObject = new Map()
  for (const name of kept) {
    const value = params?.get(name)
    if (value !== undefined) parts.set(name, value)
  }
  const greeting = Buffer.from(writeObject(parts)).toString('base64url')
  return greeting.length > longestGreeting ? id : `${id}~${greeting}`
}

/** The session's own id alone. */
export function ownIdOf(text: string): string {
  const end = text.indexOf('~')
  return end === -1 ? text : text.slice(0, end)
}

export function readRevivableId(text: string): RevivableId {
  const [id = '', greeting] = text.split('~')
  if (greeting === undefined) return { id, greeting: undefined }
  const params = Buffer.from(greeting, 'base64url').toString()
  return {
    id,
    greeting: `{"jsonrpc":"2.0","id":"revived","method":"initialize","params":${params}}`,
  }
}
