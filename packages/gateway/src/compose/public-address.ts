import type { Config } from '../config/config.ts'

/** By which address clients and servers know the gateway. */
export interface PublicAddress {
  /** The configured one; else where the gateway listens, and empty until then. */
  origin: string
  /** Names by which clients may call it, besides its own. */
  readonly hosts: readonly string[]
}

export function publicAddress({ publicOrigin, edge }: Config): PublicAddress {
  const configured = publicOrigin === undefined ? undefined : new URL(publicOrigin)
  return {
    origin: configured?.origin ?? '',
    hosts: [...edge.allowedHosts, ...(configured === undefined ? [] : [configured.hostname])],
  }
}
