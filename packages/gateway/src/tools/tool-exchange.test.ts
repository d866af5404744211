import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Agent, type Dispatcher } from 'undici'
import { expect, test } from 'vitest'
import type { PatientHandler } from '../upstream/shared-connections.ts'
import { ToolExchange } from './tool-exchange.ts'

/** Notes when it makes the tool wait. */
class Watched extends ToolExchange {
  #hold = (): void => undefined
  readonly held = new Promise<void>((resolve) => (this.#hold = resolve))

  override onData(chunk: Buffer): boolean {
    const goesOn = super.onData(chunk)
    if (!goesOn) this.#hold()
    return goesOn
  }
}

test('an answer that comes faster than it is read is held back for its reader', async () => {
  const answer = Buffer.alloc(8 * 1024 * 1024, 'x')
  const server = createServer((_request, response) => void response.end(answer))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const agent = new Agent()
  try {
    const exchange = new Watched()
    const origin = `http://127.0.0.1:${port}`
    await exchange.send(agent, { origin, path: '/', headers: [], body: '{}' })
    await exchange.held

    let length = 0
    for await (const chunk of exchange) length += chunk.length

    expect(length).toBe(answer.length)
  } finally {
    await agent.destroy()
    server.close()
  }
})

test('a call that is cancelled while it waits for a connection fails as unsent', async () => {
  const exchange = new ToolExchange()
  let left = 0
  const waiting: Pick<Dispatcher, 'dispatch'> = {
    dispatch(_options, handler: PatientHandler) {
      handler.onWait?.(() => (left += 1))
      return true
    },
  }
  const sent = exchange.send(waiting, { origin: 'http://a', path: '/', headers: [], body: '{}' })

  exchange.cancel()

  await expect(sent).rejects.toMatchObject({ code: 'upstream_unreachable' })
  expect(left).toBe(1)
})

test('a call that is cancelled before it is sent fails without a request', async () => {
  const exchange = new ToolExchange()
  exchange.cancel()

  const dispatcher = { dispatch: (): boolean => expect.unreachable('a request was made') }
  const sent = exchange.send(dispatcher, { origin: 'http://a', path: '/', headers: [], body: '{}' })

  await expect(sent).rejects.toMatchObject({ code: 'upstream_unreachable' })
})
