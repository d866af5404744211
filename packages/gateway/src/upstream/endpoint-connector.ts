import {
  lookup as resolveName,
  type LookupAddress,
  type LookupAllOptions,
  type LookupOptions,
} from 'node:dns'
import { buildConnector } from 'undici'
import { GatewayError } from '../core/errors.ts'
import { literalAddress, type AddressPolicy } from '../lib/net/address-policy.ts'

export type Resolve = (
  name: string,
  options: LookupAllOptions,
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void

export interface ConnectorOptions {
  /** Decides on every address that is connected to, after names are resolved. */
  readonly policy: AddressPolicy
  readonly timeoutMs: number
  /** Finds the addresses of a name. The default is the system's resolver. */
  readonly resolve?: Resolve
}

/**
 * Connects to addresses that the policy allows. The errors tell callers nothing about the network.
 */
export function endpointConnector({
  policy,
  timeoutMs,
  resolve = resolveName,
}: ConnectorOptions): buildConnector.connector {
  const connect = buildConnector({
    timeout: timeoutMs,
    lookup: lookUpBy(policy, resolve),
  } as buildConnector.BuildOptions)

  return (options, callback) => {
    const fail = (error: GatewayError): void => queueMicrotask(() => callback(error, null))
    const address = literalAddress(options.hostname)
    // Address literals are never looked up.
    if (address !== undefined && policy.refusal(address) !== undefined) return fail(forbidden())
    connect(options, (...[error, socket]) => {
      if (error === null) callback(null, socket)
      else callback(explained(error), null)
    })
  }
}

/**
 * Resolves a name, and refuses it if any address is forbidden, because the gateway does not choose
 * the address.
 */
function lookUpBy(policy: AddressPolicy, resolve: Resolve) {
  return (
    name: string,
    options: LookupOptions,
    callback: (
      error: NodeJS.ErrnoException | null,
      address: string | LookupAddress[],
      family?: number,
    ) => void,
  ): void => {
    resolve(name, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, [])
      if (addresses.some(({ address }) => policy.refusal(address) !== undefined))
        return callback(forbidden(), [])
      const [first] = addresses
      if (options.all === true) callback(null, addresses)
      else if (first !== undefined) callback(null, first.address, first.family)
      else callback(Object.assign(new Error('no address'), { code: 'ENOTFOUND' }), [])
    })
  }
}

function forbidden(): GatewayError {
  return new GatewayError('endpoint_forbidden')
}

/** Translates the reason why there is no connection. */
function explained(cause: Error): GatewayError {
  const known = [cause, cause.cause].find((error) => error instanceof GatewayError)
  if (known !== undefined) return known
  const { code = '' } = cause as NodeJS.ErrnoException
  if (
    /^(ERR_TLS_CERT|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)/.test(
      code,
    )
  )
    return new GatewayError('upstream_untrusted', { cause })
  return new GatewayError('upstream_unreachable', {
    detail: 'The server could not be reached. The request was not run.',
    cause,
  })
}
