import { setTimeout as sleep } from 'node:timers/promises'
import { request } from 'undici'

export async function untilAnswers(
  url: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<void> {
  for (let tries = 0; tries < 200; tries += 1) {
    const message = {
      jsonrpc: '2.0',
      id: 0,
      method: 'initialize',
      params: {
        protocolVersion: '2025-11-25',
        capabilities: {},
        clientInfo: { name: 'b', version: '1' },
      },
    }
    const answer = await post(url, message, headers).catch(() => undefined)
    if (answer?.status === 200) return
    await sleep(50)
  }
  throw new Error(`${url} does not answer`)
}

export function post(
  url: string,
  message: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  return fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...headers,
    },
    body: JSON.stringify(message),
  })
}

/**
 * Registers a resource at the gateway of an address. Uses `request`, because `fetch` adds a third
 * to the time.
 */
export async function register(
  url: string,
  path: string,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<void> {
  const answer = await request(new URL(path, url), {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
  const text = await answer.body.text()
  if (answer.statusCode !== 201) throw new Error(text)
}
