import type { Config } from '../config/config.ts'
import { createAddressPolicy } from '../lib/net/address-policy.ts'

/** The addresses that adapters and tools may name, and the setting that decides. */
export function endpointRules({ endpointNetworks, tools, identity }: Config) {
  const loopback = identity.mode === 'development' ? ['127.0.0.0/8', '::1'] : []
  const networks = endpointNetworks ?? loopback
  return {
    adapter: { policy: createAddressPolicy(networks), setting: 'endpointNetworks' },
    tool: {
      policy: createAddressPolicy(tools.endpointNetworks ?? networks),
      setting: 'tools.endpointNetworks',
    },
  }
}
