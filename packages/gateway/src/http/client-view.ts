import type { IncomingMessage } from 'node:http'
import { BlockList, isIP } from 'node:net'
import { parseNetwork } from '../lib/net/address-policy.ts'

export interface ClientViewOptions {
  /** How clients reach the gateway; outranks what proxies say. */
  readonly publicOrigin: string | undefined
  /** Networks (CIDR) of the proxies whose word counts. */
  readonly trustedProxies: readonly string[]
  /** In which of the two ways they tell it. What they do not write themselves, a client may have written. */
  readonly forwardedBy: 'x-forwarded' | 'forwarded'
  /** Host names that a proxy may name. */
  readonly allowedHosts: readonly string[]
  /** Where the gateway listens. */
  readonly listening: () => string
}

/** How things look from the client's side of proxies. */
export interface ClientView {
  /** The address of the client, or of the last hop that is not trusted. */
  addressOf(request: IncomingMessage): string
  /** Whether an address is that of a proxy, which connects for many clients. */
  isProxy(address: string): boolean
  /** The scheme, host and port by which the client reached the gateway, never with the Host header's word alone. */
  originOf(request: IncomingMessage): string
}

/** One hop, as the proxy that took it says. */
interface Hop {
  readonly from: string | undefined
  readonly proto: string | undefined
  readonly host: string | undefined
}

/** @throws Error when a network is malformed */
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

  /** The farthest hop that a trusted proxy vouches for: each is vouched for by the one after it. */
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
      // A proxy that names no host has passed on the one that it was asked for.
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

/** A scheme and a host with or without port, and nothing beside. */
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

/** RFC 7239 section 4; nearest last. */
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

/** The three lists need not be of one length: many proxies extend the first and overwrite the others. */
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

/** Without port and brackets; undefined for what is no address (`unknown`, RFC 7239 section 6). */
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
