import { freePort } from '@mcp-gateway/testkit'
import { expect, test } from 'vitest'
import { ConfigSchema } from '../config/config.ts'
import { createShares } from '../core/shares.ts'
import { Parts } from '../lib/async/parts.ts'
import type { Composition } from './composition.ts'
import { openListeners, type ListenerParts } from './listeners.ts'
import { publicAddress } from './public-address.ts'

test('a gateway knows its address before its second port opens', async () => {
  const config = { ...ConfigSchema.parse({ port: 0, cluster: { port: await freePort() } }) }
  const address = publicAddress(config)
  /** The address, whenever a port asks which requests it serves. */
  const known: string[] = []
  const planes = {
    get endpoints() {
      known.push(address.origin)
      return []
    },
    drain: () => undefined,
  }
  const parts = new Parts()
  const shares = createShares(config.limits, config.edge.bodyLimitBytes)
  const door = { shares, requestFinished: () => undefined, refused: () => undefined }
  const callers = { client: { isProxy: () => false } }
  const listener = await openListeners(
    { config, parts } as unknown as Composition,
    { planes, door, callers, address, routes: () => undefined } as unknown as ListenerParts,
  )

  expect(known).toEqual(['', listener.origin])
  await parts[Symbol.asyncDispose]()
})
