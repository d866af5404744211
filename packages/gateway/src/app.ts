import { openCallers } from './compose/callers.ts'
import { openCluster } from './compose/cluster.ts'
import { compose, type App, type AppOptions } from './compose/composition.ts'
import { openControl } from './compose/control.ts'
import { openDoor } from './compose/door.ts'
import { openListeners } from './compose/listeners.ts'
import { openOutgoing } from './compose/outgoing.ts'
import { openPlanes } from './compose/planes.ts'
import { publicAddress } from './compose/public-address.ts'
import { openState } from './compose/state.ts'
import { openWorkloads } from './compose/workloads.ts'
import { AuditSinkConfig } from './config/config.ts'

/** Opens the role `gateway`: both planes, with store and runtime. */
export function openApp(options: AppOptions): Promise<App> {
  const { config, log, version } = options
  return compose(options, async (composition) => {
    const address = publicAddress(config)
    const state = await openState(composition, options)
    const workloads = await openWorkloads(composition, options, state)
    const cluster = await openCluster(composition, state.keys)
    const outgoingSide = await openOutgoing(composition, state, address)
    const callers = await openCallers(composition, state, workloads, address)

    const door = await openDoor(composition, {
      authenticate: callers.identity.authenticate,
      challenge: callers.identity.challenge,
      hop: cluster.hop,
      addressOf: (request) => callers.client.addressOf(request),
      sinks: config.audit.sinks ?? [AuditSinkConfig.parse({ type: 'file' })],
    })

    callers.apiKeys.onEnd(() => door.entrance.askAgain())

    const common = { state, workloads, cluster, outgoingSide, callers, door, address }
    const planes = await openPlanes(composition, common)
    const routes = openControl(composition, { ...common, planes })

    const { origin } = await openListeners(composition, { ...common, planes, routes })
    const store = config.store.url === undefined ? 'sqlite' : 'postgres'
    log.info({ address: origin, version, store, runtime: workloads.runtime.name }, 'ready')

    return origin
  })
}
