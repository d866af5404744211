import { ServerCard } from '@mcp-gateway/contract'
import { expect, test } from 'vitest'
import type { Adapter } from '../../core/resource.ts'
import type { VirtualServer } from '../../core/virtual-servers/virtual-server.ts'
import { sampleResource } from '../../../test/contracts/samples.ts'
import { cardOf, catalogEntryOf, keyIn, registryName, registryServerOf } from './descriptions.ts'

const adapter = (name: string, spec: Partial<Adapter['spec']> = {}): Adapter => {
  const sample = sampleResource(name) as Adapter
  return { ...sample, spec: { ...sample.spec, ...spec } }
}
const virtual = (spec: Partial<VirtualServer['spec']> = {}): VirtualServer => {
  const { name, uid, owner, createdAt, lastUpdatedAt } = adapter('work')
  const whole = { description: '', members: [], requiredRoles: [], ...spec }
  return { kind: 'server', name, uid, owner, createdAt, lastUpdatedAt, version: 3, spec: whole }
}

test.each([
  ['https://mcp.example.com', 'com.example.mcp/adapters.work'],
  ['https://my-gateway.example.com:8443', 'com.example.my-gateway/adapters.work'],
  ['http://localhost:8000', 'localhost/adapters.work'],
  ['http://127.0.0.1:8000', '127.0.0.1/adapters.work'],
  ['http://[fe80::1]:8000', 'fe80--1/adapters.work'],
])('the gateway at %s gives its servers names like %s', (origin, name) => {
  expect(registryName(origin, adapter('work'))).toBe(name)
  expect(keyIn(origin, name)).toBe('adapters.work')
  expect(ServerCard.shape.name.safeParse(name).success).toBe(true)
})

test('an adapter and a virtual server of one name have different names in registries', () => {
  const origin = 'https://example.com'
  expect(registryName(origin, virtual())).not.toBe(registryName(origin, adapter('work')))
})

test('no name of another host leads to a server of this gateway', () => {
  expect(keyIn('https://example.com', 'com.example.evil/adapters.work')).toBeUndefined()
  expect(keyIn('https://example.com', 'adapters.work')).toBeUndefined()
})

test('a description without text gets a sentence, and a long one ends with an ellipsis', () => {
  const described = (description: string) =>
    registryServerOf('https://example.com', adapter('work', { description })).server.description
  expect(described(' \n')).toBe("The MCP server 'work'.")
  expect(described('𝔸'.repeat(100))).toBe('𝔸'.repeat(100))
  expect(described('𝔸'.repeat(4096))).toBe(`${'𝔸'.repeat(99)}…`)
})

test('a card names the endpoint and the versions that the gateway answers', () => {
  const [remote] = cardOf('https://example.com', virtual({ title: 'Work' })).remotes
  expect(remote?.url).toBe('https://example.com/servers/work/mcp')
  expect(remote?.supportedProtocolVersions).toEqual(
    expect.arrayContaining(['2025-11-25', '2026-07-28']),
  )
})

test('a card promises no versions of a server whose messages pass untranslated', () => {
  const [remote] = cardOf('https://example.com', adapter('work', { eras: 'passthrough' })).remotes
  expect(remote).not.toHaveProperty('supportedProtocolVersions')
})

test('an entry of the catalog leads to the card beside the endpoint', () => {
  expect(catalogEntryOf('https://mcp.example.com', virtual({ title: 'Work' }))).toEqual({
    identifier: 'urn:air:mcp.example.com:servers.work',
    displayName: 'Work',
    type: 'application/mcp-server-card+json',
    url: 'https://mcp.example.com/servers/work/mcp/server-card',
  })
})
