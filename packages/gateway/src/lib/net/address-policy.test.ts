import { describe, expect, test } from 'vitest'
import {
  clientNetwork,
  createAddressPolicy,
  literalAddress,
  parseNetwork,
} from './address-policy.ts'

describe('the address policy', () => {
  const strict = createAddressPolicy([])

  test.each([
    ['127.0.0.1', 'loopback'],
    ['127.255.1.2', 'loopback'],
    ['::1', 'loopback'],
    ['0:0:0:0:0:0:0:1', 'loopback'],
    ['::ffff:127.0.0.1', 'loopback'],
    ['::ffff:7f00:1', 'loopback'],
    ['0.0.0.0', 'this host'],
    ['::', 'this host'],
    ['169.254.169.254', 'metadata'],
    ['::ffff:169.254.169.254', 'metadata'],
    ['fd00:ec2::254', 'metadata'],
    ['fe80::1%eth0', 'link-local'],
    ['10.1.2.3', 'private'],
    ['172.31.0.1', 'private'],
    ['192.168.1.1', 'private'],
    ['100.64.0.1', 'shared'],
    ['fd12::1', 'private'],
    ['64:ff9b::7f00:1', 'translated'],
    ['2002:7f00:1::', 'translated'],
    ['::127.0.0.1', 'translated'],
    ['255.255.255.255', 'reserved'],
    ['ff02::1', 'multicast'],
    ['example.com', 'no address'],
    ['', 'no address'],
  ])('the policy refuses %s, which is %s', (address, what) => {
    expect(strict.refusal(address)).toContain(what)
  })

  test.each(['8.8.8.8', '172.32.0.1', '2606:4700::1111', '::ffff:8.8.8.8', '100.128.0.1'])(
    'the policy allows %s',
    (address) => {
      expect(strict.refusal(address)).toBeUndefined()
    },
  )

  test('the policy allows the configured networks, and nothing beside them', () => {
    const policy = createAddressPolicy(['10.0.0.0/8', '127.0.0.1', 'fd12::/16'])
    for (const address of ['10.9.9.9', '127.0.0.1', '::ffff:10.0.0.1', 'fd12::5'])
      expect(policy.refusal(address)).toBeUndefined()
    for (const address of ['127.0.0.2', '192.168.0.1', 'fd13::5', '::1'])
      expect(policy.refusal(address)).toBeDefined()
  })

  test.each(['10.0.0.0/33', 'x', '10.0.0.0/', '10.0.0.0/8/8', '::/129', '10.0.0/8', ''])(
    'the text %s is no network',
    (text) => {
      expect(() => parseNetwork(text)).toThrow('CIDR')
    },
  )

  test('the policy tells addresses from names', () => {
    expect(literalAddress('[::1]')).toBe('::1')
    expect(literalAddress('127.0.0.1')).toBe('127.0.0.1')
    expect(literalAddress('localhost')).toBeUndefined()
  })

  test.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::', '2001:db8:1:2::/64'],
    ['2001:0DB8:0001:2::9', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['unknown', 'unknown'],
    ['', ''],
  ])('a client of %j counts as %j', (address, network) => {
    expect(clientNetwork(address)).toBe(network)
  })
})
