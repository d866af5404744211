import { ApiKeys } from '../auth/api-keys.ts'
import { openIdentity } from '../auth/open.ts'
import { createClientView } from '../http/client-view.ts'
import type { Composition } from './composition.ts'
import type { PublicAddress } from './public-address.ts'
import type { State } from './state.ts'
import type { Workloads } from './workloads.ts'

export type Callers = Awaited<ReturnType<typeof openCallers>>

/** Opens the parts that identify callers: API keys, identity, and the client's address. */
export async function openCallers(
  { config, log, parts, now }: Composition,
  { store }: State,
  { runtime }: Workloads,
  address: PublicAddress,
) {
  const apiKeys = parts.use(
    await ApiKeys.open({
      collection: store.apiKeys,
      log,
      now,
      development: config.identity.mode === 'development',
      tellUseMs: 60_000,
    }),
  )

  const { trustedProxies, forwardedBy } = config.edge
  const client = createClientView({
    publicOrigin: config.publicOrigin,
    trustedProxies,
    forwardedBy,
    allowedHosts: address.hosts,
    listening: () => address.origin,
  })

  const identity = parts.use(
    openIdentity({
      settings: config.identity,
      isWorkload: runtime.isWorkload,
      methods: [(request) => apiKeys.authenticate(request)],
      client,
      warn: (about, what) => log.warn(about, `identity provider: ${what}`),
      now,
    }),
  )

  return { apiKeys, client, identity }
}
