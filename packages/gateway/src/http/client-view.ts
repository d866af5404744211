import type { IncomingMessage } from 'node:http'
import { BlockList, isIP } from 'node:net'
import { parseNetwork } from '../lib/net/address-policy.ts'

export interface ClientViewOptions {
  /** The address by which clients reach the gateway. It outranks the headers of proxies. */
  readonly publicOrigin: string | undefined
  /** Networks (CIDR) of the proxies that the gateway trusts. */
  readonly trustedProxies: readonly string[]
  /**
   * The headers that the proxies write. A client may have written any header that they leave alone.
   */
  readonly forwardedBy: 'x-forwarded' | 'forwarded'
  /** Host names that a proxy may name. */
  readonly allowedHosts: readonly string[]
  /** The address at which the gateway listens. */
  readonly listening: () => string
}

/** The client's address and the gateway's origin, as seen from the client's side of proxies. */
export interface ClientView {
  /** The address of the client, or of the last hop that is not trusted. */
  addressOf(request: IncomingMessage): string
  /** True for the address of a proxy, which connects for many clients. */
  isProxy(address: string): boolean
  /**
   * The scheme, host and port by which the client reached the gateway. The Host header alone never
   * decides them.
   */
  originOf(request: IncomingMessage): string
}

/** One hop, as described by the proxy that received it. */
interface Hop {
  readonly from: string | undefined
  readonly proto: string | undefined
  readonly host: string | undefined
}

/** @throws Error if a network is malformed */
export function createClientView(options: ClientViewOptions): ClientView {
  const trusted = new BlockList()
  for (const network of options.trustedProxies) {
    const { address, prefix, family } = parseNetwork(network)
    trusted.addSubnet(address, prefix, family)
  }
  const isTrusted = (address: string): boolean => {
    const version = isIP(address)
    return version !== 0 && trusted.check(address, version === 6 ? 'ipv6' : 'ipv4')
  }
  const hosts = new Set(options.allowedHosts.map((host) => host.toLowerCase()))
  const readHops = options.forwardedBy === 'forwarded' ? forwardedHops : xForwardedHops

  /** The farthest hop that a trusted proxy vouches for. Each hop is described by the next one. */
  function firstHop(request: IncomingMessage): Hop | undefined {
    if (options.trustedProxies.length === 0 || !isTrusted(remoteAddress(request))) return undefined
    const hops = readHops(request.headers)
    const index = hops.findLastIndex(({ from }) => from === undefined || !isTrusted(from))
    return index === -1 ? hops[0] : hops[index]
  }

  return {
    isProxy: isTrusted,

    addressOf: (request) => firstHop(request)?.from ?? remoteAddress(request),

    originOf(request) {
      if (options.publicOrigin !== undefined) return new URL(options.publicOrigin).origin
      const hop = firstHop(request)
      // A proxy that names no host has passed on the Host that the client sent.
      const told =
        hop === undefined
          ? undefined
          : originOf(hop.proto ?? 'http', hop.host ?? request.headers.host ?? '')
      return told !== undefined && (hosts.has(told.hostname) || hosts.has('*'))
        ? told.origin
        : options.listening()
    },
  }
}

/** Parses a scheme and a host with or without port. Undefined for anything more. */
function originOf(proto: string, host: string): URL | undefined {
  const text = `${proto.toLowerCase()}://${host.toLowerCase()}`
  if (!/^https?:\/\/([\w.-]+|\[[\da-f:.]+\])(:\d{1,5})?$/.test(text) || !URL.canParse(text))
    return undefined
  return new URL(text)
}

function remoteAddress({ socket }: IncomingMessage): string {
  const address = socket.remoteAddress ?? ''
  return address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address
}

/** RFC 7239 section 4, nearest hop last. */
function forwardedHops({ forwarded }: IncomingMessage['headers']): Hop[] {
  return splitOutsideQuotes(forwarded ?? '', ',').map((element) => {
    const pairs = new Map(
      splitOutsideQuotes(element, ';').map((pair) => {
        const equals = pair.indexOf('=')
        return [
          pair.slice(0, equals).trim().toLowerCase(),
          unquoted(pair.slice(equals + 1).trim()),
        ] as const
      }),
    )
    return {
      from: addressAlone(pairs.get('for')),
      proto: pairs.get('proto'),
      host: pairs.get('host'),
    }
  })
}

/** The three lists may differ in length: many proxies extend the first and overwrite the others. */
function xForwardedHops(headers: IncomingMessage['headers']): Hop[] {
  const list = (name: string): string[] => {
    const value = headers[name]
    return (Array.isArray(value) ? value.join(',') : (value ?? ''))
      .split(',')
      .flatMap((part) => part.trim() || [])
  }
  const [from, proto, host] = [
    list('x-forwarded-for'),
    list('x-forwarded-proto'),
    list('x-forwarded-host'),
  ]
  const length = Math.max(from.length, proto.length, host.length)
  const at = (values: readonly string[], back: number): string | undefined =>
    values.at(-1 - Math.min(back, values.length - 1))
  return Array.from({ length }, (_, index) => {
    const back = length - 1 - index
    return { from: addressAlone(from.at(-1 - back)), proto: at(proto, back), host: at(host, back) }
  })
}

/**
 * The address without port and brackets. Undefined for other text (`unknown`, RFC 7239 section 6).
 */
function addressAlone(text: string | undefined): string | undefined {
  const bare = text?.replace(/^\[([^\]]+)\](:\d+)?$/, '$1').replace(/^([\d.]+):\d+$/, '$1')
  return bare === undefined || isIP(bare) === 0 ? undefined : bare
}

function splitOutsideQuotes(text: string, separator: ',' | ';'): string[] {
  const parts: string[] = []
  let part = ''
  let quoted = false
  for (let index = 0; index < text.length; index += 1) {
    const character = text[index] as string
    if (quoted && character === '\\') part += character + (text[(index += 1)] ?? '')
    else if (character === separator && !quoted) {
      parts.push(part)
      part = ''
    } else {
      if (character === '"') quoted = !quoted
      part += character
    }
  }
  return [...parts, part].filter((each) => each.trim() !== '')
}

function unquoted(text: string): string {
  return text.startsWith('"') && text.endsWith('"')
    ? text.slice(1, -1).replaceAll(/\\(.)/g, '$1')
    : text
}
