import { setTimeout as sleep } from 'node:timers/promises'
import type { CallOptions, Peer } from './clients.ts'
import type { Behaviour, Offers, ToolCall } from './servers.ts'

/** The outcome of a behaviour: a result, or a reason for the failure. */
export type Outcome = { readonly seen: unknown } | { readonly failed: string }

/**
 * Far more than any behaviour takes. Many servers and clients run at the same time, and the machine
 * may pause.
 */
const boundMs = 90_000

/** A client with a server, by the name of this pair. */
interface View {
  readonly peer: Peer
  readonly name: string
  readonly serverLog: () => Promise<string>
  /** The number of tools that the client calls at most. */
  readonly calls: number
}

/**
 * Does one thing with a server. Gives the outcome in words that are equal for every client, era and
 * way.
 */
export async function observe(behaviour: Behaviour, offers: Offers, view: View): Promise<Outcome> {
  const bound = new AbortController()
  try {
    return {
      seen: await Promise.race([
        ways[behaviour](view, offers),
        sleep(boundMs, undefined, { signal: bound.signal }).then(() => {
          throw new Error(`nothing came of it in ${boundMs} ms`)
        }),
      ]),
    }
  } catch (error) {
    return { failed: error instanceof Error ? error.message : String(error) }
  } finally {
    bound.abort()
  }
}

const ways: { readonly [Name in Behaviour]: (view: View, offers: Offers) => Promise<unknown> } = {
  'list tools': async ({ peer }) => [peer.server, bare(await peer.listTools())],
  'call a tool': async ({ peer, calls }, offers) => {
    const seen: unknown[] = []
    for (const call of offers['call a tool'].slice(0, calls)) seen.push(await result(peer, call))
    return seen
  },
  'read a resource': async ({ peer }, offers) =>
    bare(await peer.read(need(offers['read a resource']))),
  'get a prompt': async ({ peer }, offers) => bare(await peer.prompt(need(offers['get a prompt']))),
  'complete an argument': async ({ peer }, offers) =>
    bare(await peer.complete(need(offers['complete an argument']))),
  'elicit with a form': ({ peer }, offers) =>
    asking(peer, 'elicitation form', need(offers['elicit with a form'])),
  'elicit with a URL': ({ peer }, offers) =>
    asking(peer, 'elicitation url', need(offers['elicit with a URL'])),
  sample: ({ peer }, offers) => asking(peer, 'sampling', need(offers.sample)),
  // A server may ask for the roots once and keep them, so the result counts.
  'list roots': ({ peer }, offers) => result(peer, need(offers['list roots'])),
  'hear of a resource update': async ({ peer }, offers) => {
    const { uri, cause, undo } = need(offers['hear of a resource update'])
    await peer.watch([uri])
    await peer.call(cause)
    try {
      return await until(() => (peer.updates.includes(uri) ? `heard of ${uri}` : undefined))
    } finally {
      if (undo !== undefined) await peer.call(undo)
    }
  },
  'hear of a changed list': async ({ peer, name }, offers) => {
    const { notification, cause } = need(offers['hear of a changed list'])
    await peer.watch([])
    const before = peer.changes.length
    await peer.call(cause(name))
    return until(() =>
      peer.changes.slice(before).includes(notification) ? notification : undefined,
    )
  },
  'log at a level': async ({ peer }, offers) => {
    const { level, cause, undo } = need(offers['log at a level'])
    for (let tries = 1; ; tries += 1) {
      const before = peer.logs.length
      await peer.call(cause, { logLevel: level })
      const heard = (): string[] | undefined =>
        peer.logs.length > before ? peer.logs.slice(before) : undefined
      if (undo === undefined) return until(heard)
      // The official server writes the message on another stream than the answer. If the answer
      // arrives first, the client drops the message.
      const messages = await until(heard, 2000).catch(() => undefined)
      await peer.call(undo)
      if (messages !== undefined) return 'heard'
      if (tries === 12) throw new Error('It was not heard')
    }
  },
  progress: async ({ peer }, offers) => {
    // A client forgets the listener of progress when it reads the answer. It drops progress that
    // it reads together with the answer.
    for (let tries = 1; ; tries += 1) {
      const seen: number[] = []
      const answer = await result(peer, need(offers.progress), {
        onProgress: (progress) => void seen.push(progress),
      })
      if (seen.length >= 2 || tries === 20) return [answer, seen.slice(0, 2)]
    }
  },
  cancel: async ({ peer, name, serverLog }, offers) => {
    const { call, heard, where } = need(offers.cancel)
    const times = async (): Promise<number> =>
      (where === 'log' ? await serverLog() : JSON.stringify(await peer.call(where))).split(
        heard(name),
      ).length - 1
    const stop = new AbortController()
    const before = await times()
    const running = result(peer, call(name), {
      signal: stop.signal,
      onProgress: () => stop.abort(),
    })
    const [outcome] = await Promise.allSettled([running])
    if (outcome.status === 'fulfilled')
      throw new Error(`It was not cancelled: ${JSON.stringify(outcome.value)}`)
    return until(async () => ((await times()) > before ? 'cancelled here and there' : undefined))
  },
  'run a task': ({ peer }, offers) => result(peer, need(offers['run a task']), { task: true }),
}

function need<T>(offered: T | undefined): T {
  if (offered === undefined) throw new Error('The server does not offer this')
  return offered
}

async function result(peer: Peer, call: ToolCall, options?: CallOptions): Promise<unknown> {
  return bare(await peer.call(call, options))
}

/** Makes a call whose server asks the client. Gives the question and the result. */
async function asking(peer: Peer, question: string, call: ToolCall): Promise<unknown> {
  const before = peer.asked.length
  const answer = await result(peer, call)
  return [peer.asked.slice(before).filter((each) => each === question), answer]
}

/** Removes the members that only one era has. */
function bare(value: unknown): unknown {
  const plain = JSON.parse(JSON.stringify(value)) as Record<string, unknown>
  for (const member of ['_meta', 'resultType', 'ttlMs', 'cacheScope']) delete plain[member]
  const { tools } = plain
  if (Array.isArray(tools))
    for (const tool of tools as Record<string, unknown>[]) delete tool['execution']
  return plain
}

async function until<T>(
  look: () => T | undefined | Promise<T | undefined>,
  patienceMs = 60_000,
): Promise<T> {
  const end = Date.now() + patienceMs
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (Date.now() > end) throw new Error('It was not heard')
    await sleep(20)
  }
}
