import { BlockList, isIP } from 'node:net'

/** Decides which addresses may be called. */
export interface AddressPolicy {
  /**
   * Returns why an address may not be called; undefined when it may. A text that is no address
   * literal may not.
   */
  refusal(address: string): string | undefined
}

/**
 * Networks outside the open Internet, with a word for each (IANA special-purpose address
 * registries, RFC 6890).
 */
const special: readonly (readonly [network: string, prefix: number, what: string])[] = [
  ['127.0.0.0', 8, 'a loopback address'],
  ['::1', 128, 'a loopback address'],
  ['0.0.0.0', 8, 'an address of this host'],
  ['::', 128, 'an address of this host'],
  // Clouds also serve credentials here.
  ['169.254.0.0', 16, 'a link-local or metadata address'],
  ['fe80::', 10, 'a link-local address'],
  ['fd00:ec2::', 32, 'a metadata address'],
  ['10.0.0.0', 8, 'a private address'],
  ['172.16.0.0', 12, 'a private address'],
  ['192.168.0.0', 16, 'a private address'],
  ['100.64.0.0', 10, 'a shared address'],
  ['fc00::', 7, 'a private address'],
  ['fec0::', 10, 'a private address'],
  ['192.0.0.0', 24, 'a special address'],
  ['192.88.99.0', 24, 'a special address'],
  ['198.18.0.0', 15, 'a special address'],
  ['192.0.2.0', 24, 'a documentation address'],
  ['198.51.100.0', 24, 'a documentation address'],
  ['203.0.113.0', 24, 'a documentation address'],
  ['2001:db8::', 32, 'a documentation address'],
  ['224.0.0.0', 4, 'a multicast address'],
  ['ff00::', 8, 'a multicast address'],
  ['240.0.0.0', 4, 'a reserved address'],
  // These carry an IPv4 address, which may be any of those above.
  ['64:ff9b::', 96, 'a translated address'],
  ['64:ff9b:1::', 48, 'a translated address'],
  ['2002::', 16, 'a translated address'],
  ['2001::', 32, 'a translated address'],
  ['::', 96, 'a translated address'],
]

const lists = special.map(([network, prefix, what]) => {
  const list = new BlockList()
  list.addSubnet(network, prefix, isIP(network) === 6 ? 'ipv6' : 'ipv4')
  return { list, what }
})

/**
 * Allows public addresses and the `allowed` networks (CIDR). @throws Error when a network is
 * malformed
 */
export function createAddressPolicy(allowed: readonly string[]): AddressPolicy {
  const exempt = new BlockList()
  for (const network of allowed) {
    const { address, prefix, family } = parseNetwork(network)
    exempt.addSubnet(address, prefix, family)
  }
  return {
    refusal(address) {
      const plain = unmapped(address)
      const version = isIP(plain)
      if (version === 0) return 'no address'
      const family = version === 6 ? 'ipv6' : 'ipv4'
      if (exempt.check(plain, family)) return undefined
      return lists.find(({ list }) => list.check(plain, family))?.what
    },
  }
}

/**
 * Reads `10.0.0.0/8`; a lone address is a network of one. @throws Error when the text is malformed
 */
export function parseNetwork(text: string): {
  readonly address: string
  readonly prefix: number
  readonly family: 'ipv4' | 'ipv6'
} {
  const [address = '', bits, ...more] = text.split('/')
  const version = isIP(address)
  const most = version === 6 ? 128 : 32
  const prefix = bits === undefined ? most : /^\d{1,3}$/.test(bits) ? Number(bits) : Number.NaN
  if (version === 0 || more.length > 0 || !(prefix <= most))
    throw new Error(`'${text}' is no network in CIDR notation`)
  return { address, prefix, family: version === 6 ? 'ipv6' : 'ipv4' }
}

/** Returns the host of a URL if it is an address literal; undefined when it is a name. */
export function literalAddress(hostname: string): string | undefined {
  const bare = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname
  return isIP(bare) === 0 ? undefined : bare
}

/**
 * The network that counts as one client: one IPv4 address, or an IPv6 /64, in which a host takes
 * any address (RFC 4291 section 2.5.4, RFC 8981). Other texts stay as they are.
 */
export function clientNetwork(address: string): string {
  const plain = unmapped(address)
  if (isIP(plain) !== 6) return plain
  const [before = [], after = []] = plain
    .split('::')
    .map((part) => part.split(':').filter((group) => group !== ''))
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0')
  return `${[...before, ...zeros, ...after].slice(0, 4).join(':')}::/64`
}

/** Returns an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) as IPv4. */
function unmapped(address: string): string {
  const bare = address.split('%')[0] ?? ''
  if (isIP(bare) !== 6) return bare
  // The URL parser writes an IPv6 address in its single shortest form.
  const shortest = new URL(`http://[${bare}]/`).hostname.slice(1, -1)
  const hex = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(shortest)
  if (hex === null) return shortest
  const [high, low] = [Number.parseInt(hex[1] ?? '', 16), Number.parseInt(hex[2] ?? '', 16)]
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
}
