import { connect, type AddressInfo } from 'node:net'
import fastify from 'fastify'
import { afterEach, expect, test } from 'vitest'
import { GatewayError } from '../core/errors.ts'
import { whenOver } from './over.ts'
import { addProblems } from './rest.ts'

const closing: (() => Promise<unknown>)[] = []
afterEach(async () => void (await Promise.all(closing.splice(0).map((close) => close()))))

interface Change {
  /** Ends the change, well or with an error. */
  readonly end: (error?: Error) => void
  /** Outcomes of the requests that the hook reported. */
  readonly told: readonly string[]
}

/** A change whose client leaves during the change, or before the gateway knows the caller. */
async function abandonedChange(when: 'onRequest' | 'preHandler'): Promise<Change> {
  const app = fastify()
  closing.push(() => app.close())
  app.decorateRequest('problem', null)
  addProblems(app)
  const told: string[] = []
  whenOver(app, ({ error }) => void told.push(error?.code ?? 'done'))

  const { promise: work, resolve, reject } = withResolvers()
  const { promise: begun, resolve: begin } = withResolvers()
  const { promise: gone, resolve: leave } = withResolvers()
  app.addHook(when, async (_request, reply) => {
    reply.raw.once('close', () => leave())
    begin()
    await work
  })
  app.delete('/resource', async () => 'done')
  await app.listen({ port: 0, host: '127.0.0.1' })

  const { port } = app.server.address() as AddressInfo
  const client = connect(port, '127.0.0.1')
  client.write('DELETE /resource HTTP/1.1\r\nhost: localhost\r\n\r\n')
  await begun
  client.destroy()
  await gone

  return { told, end: (error) => (error === undefined ? resolve() : reject(error)) }
}

function withResolvers<T = void>(): {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
  readonly reject: (error: Error) => void
} {
  let resolve: (value: T) => void = () => undefined
  let reject: (error: Error) => void = () => undefined
  const promise = new Promise<T>((fulfil, refuse) => {
    resolve = fulfil
    reject = refuse
  })
  return { promise, resolve, reject }
}

test.each(['onRequest', 'preHandler'] as const)(
  'a change whose client has left (%s) is recorded when it is done, as done',
  async (when) => {
    const change = await abandonedChange(when)
    expect(change.told).toEqual([])

    change.end()
    await expect.poll(() => change.told).toEqual(['done'])
  },
)

test.each(['onRequest', 'preHandler'] as const)(
  'a change whose client has left (%s) is recorded with the reason of its refusal',
  async (when) => {
    const change = await abandonedChange(when)
    change.end(new GatewayError('forbidden'))
    await expect.poll(() => change.told).toEqual(['forbidden'])
  },
)
