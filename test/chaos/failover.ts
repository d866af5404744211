import { setTimeout as sleep } from 'node:timers/promises'

/** Milliseconds before a client tries another gateway, and until it gives up. */
const pauseMs = 50
const patienceMs = 30_000

/**
 * A `fetch` for clients that know several gateways: each request goes to the next one, and goes to
 * another one if its connection breaks. Every answer of a gateway counts, errors included.
 */
export function failover(origins: readonly string[], repeated: () => void): typeof fetch {
  let turn = Math.floor(Math.random() * origins.length)
  return async (input, init) => {
    const { pathname, search } = new URL(input instanceof Request ? input.url : input)
    const end = Date.now() + patienceMs
    for (;;)
      try {
        const origin = origins[(turn += 1) % origins.length] ?? ''
        return await answerOf(await fetch(`${origin}${pathname}${search}`, init), init)
      } catch (error) {
        if (init?.signal?.aborted === true || Date.now() > end) throw error
        repeated()
        await sleep(pauseMs)
      }
  }
}

/** Reads an answer whole, so that a break is noticed here. Streams stay streams. */
async function answerOf(response: Response, init: RequestInit | undefined): Promise<Response> {
  const { body: sent, method } = init ?? {}
  const listens = typeof sent === 'string' && sent.includes('"subscriptions/listen"')
  if (method !== 'POST' || listens) return response
  const body = await response.arrayBuffer()
  const { headers, status } = response
  return new Response(body.byteLength === 0 ? null : body, { headers, status })
}
