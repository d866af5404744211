import type { Config } from '../config/config.ts'

/** The address by which clients and servers know the gateway. */
export interface PublicAddress {
  /** The configured origin, or the listening address. Empty until the gateway listens. */
  origin: string
  /** Host names that clients may also use. */
  readonly hosts: readonly string[]
}

export function publicAddress({ publicOrigin, edge }: Config): PublicAddress {
  const configured = publicOrigin === undefined ? undefined : new URL(publicOrigin)
  return {
    origin: configured?.origin ?? '',
    hosts: [...edge.allowedHosts, ...(configured === undefined ? [] : [configured.hostname])],
  }
}
