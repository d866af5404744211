import {
  eraOf,
  latestLegacyVersion,
  metaKey,
  modernVersion,
  readObject,
  requestMessage,
} from '@mcp-gateway/protocol'
import type { Child } from './children/child.ts'

export interface ProbeOptions {
  readonly clientInfo: object
  /** Milliseconds without an answer after which the server is asked in the other era too. */
  readonly silentMs: number
  /** Milliseconds after which the probe ends without an answer. */
  readonly boundMs: number
}

const discoverId = '"era-probe"'
const initializeId = '"era-hello"'

/**
 * Asks a fresh child for its era (MCP 2026-07-28, versioning, stdio). A child silent to
 * `server/discover` may be downloading (`npx`), so `initialize` follows. The first answer decides.
 * @returns undefined if the child gave no answer; `fresh` if a session can still use it
 */
export function probeModern(
  child: Child,
  options: ProbeOptions,
): Promise<{ readonly era: 'legacy' | 'modern'; readonly fresh: boolean } | undefined> {
  const discover = JSON.stringify({
    _meta: {
      [metaKey.protocolVersion]: modernVersion,
      [metaKey.clientInfo]: options.clientInfo,
      [metaKey.clientCapabilities]: {},
    },
  })

  return ask(child, options, {
    first: requestMessage(discoverId, 'server/discover', discover),
    later: hello(options),
    judge: (id, message, silent) => {
      if (id === discoverId)
        return { era: eraOf(message.get('result'), message.get('error')), fresh: !silent }
      // An initialized child has its session, and no other client can open it again.
      return message.has('result') ? { era: 'legacy', fresh: false } : undefined
    },
  })
}

/**
 * True if a server that speaks the modern era accepts `initialize` too. The child is unusable
 * afterwards.
 */
export async function takesInitialize(child: Child, options: ProbeOptions): Promise<boolean> {
  const answer = await ask(child, options, {
    first: hello(options),
    judge: (_id, message) => ({ takes: message.has('result') }),
    otherwise: { takes: false },
  })
  return answer?.takes ?? false
}

function hello({ clientInfo }: ProbeOptions): string {
  return requestMessage(
    initializeId,
    'initialize',
    JSON.stringify({ protocolVersion: latestLegacyVersion, capabilities: {}, clientInfo }),
  )
}

interface Question<T> {
  readonly first: string
  /** Sent when the child was silent to the first message. */
  readonly later?: string
  /** Returns undefined for an answer that decides nothing. */
  readonly judge: (
    id: string,
    message: ReadonlyMap<string, string>,
    silent: boolean,
  ) => T | undefined
  /** The verdict on a child that stays silent. */
  readonly otherwise?: T
}

function ask<T>(
  child: Child,
  { silentMs, boundMs }: ProbeOptions,
  { first, later, judge, otherwise }: Question<T>,
): Promise<T | undefined> {
  return new Promise((resolve) => {
    let silent = false
    const impatience = setTimeout(() => {
      if (later === undefined) return
      silent = true
      child.send(Buffer.from(later))
    }, silentMs)
    const bound = setTimeout(() => decide(otherwise), boundMs)

    const decide = (verdict: T | undefined): void => {
      clearTimeout(impatience)
      clearTimeout(bound)
      child.unlisten()
      resolve(verdict)
    }

    child.listen({
      line: (line, { id }) => {
        if (id !== discoverId && id !== initializeId) return
        const text = Buffer.from(line.buffer, line.byteOffset, line.byteLength).toString()
        const verdict = judge(id, readObject(text) ?? new Map(), silent)
        if (verdict !== undefined) decide(verdict)
      },
      ended: () => decide(undefined),
    })

    child.send(Buffer.from(first))
  })
}
