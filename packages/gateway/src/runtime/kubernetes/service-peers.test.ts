import type { Endpoint, EndpointSlice } from 'kubernetes-types/discovery/v1.js'
import { describe, expect, test } from 'vitest'
import { peersIn } from './service-peers.ts'

const endpoint = (
  name: string,
  address: string,
  conditions: Endpoint['conditions'] = {},
): Endpoint => ({
  addresses: [address],
  conditions,
  targetRef: { kind: 'Pod', name },
})
const slice = (endpoints: Endpoint[], more: Partial<EndpointSlice> = {}): EndpointSlice => ({
  addressType: 'IPv4',
  ports: [{ name: 'http', port: 8000 }],
  endpoints,
  ...more,
})

describe('the peers in the endpoint slices of a Service', () => {
  test('the peers are the pods, by their names', () => {
    const found = peersIn([
      slice([endpoint('gw-0', '10.0.0.1')]),
      slice([endpoint('gw-1', '10.0.0.2', { ready: true, serving: true })]),
    ])
    expect([...found]).toEqual([
      ['gw-0', { origin: 'http://10.0.0.1:8000', ready: true }],
      ['gw-1', { origin: 'http://10.0.0.2:8000', ready: true }],
    ])
  })

  test('the peers exist before they are ready and while they end, without new work', () => {
    const found = peersIn([
      slice([
        endpoint('starts', '10.0.0.1', { ready: true, serving: false, terminating: false }),
        endpoint('goes', '10.0.0.2', { ready: true, serving: true, terminating: true }),
      ]),
    ])
    expect([...found.values()].map(({ ready }) => ready)).toEqual([false, false])
  })

  test('the peers have one address each, with brackets around IPv6', () => {
    const six = slice([endpoint('both', 'fd00::1'), endpoint('six', 'fd00::2')], {
      addressType: 'IPv6',
    })
    const found = peersIn([six, slice([endpoint('both', '10.0.0.1')])])
    expect(Object.fromEntries([...found].map(([name, { origin }]) => [name, origin]))).toEqual({
      both: 'http://10.0.0.1:8000',
      six: 'http://[fd00::2]:8000',
    })
  })

  test('the peers listen on the port called http, or on the first', () => {
    const ports = [
      { name: 'metrics', port: 9090 },
      { name: 'http', port: 8080 },
    ]
    const found = peersIn([
      slice([endpoint('named', '10.0.0.1')], { ports }),
      slice([endpoint('first', '10.0.0.2')], { ports: [{ port: 3000 }] }),
      slice([endpoint('none', '10.0.0.3')], { ports: [] }),
    ])
    expect([...found].map(([name, { origin }]) => [name, origin])).toEqual([
      ['named', 'http://10.0.0.1:8080'],
      ['first', 'http://10.0.0.2:3000'],
    ])
  })

  test('addresses that belong to no pod are no peers', () => {
    const { targetRef: _, ...byHand } = endpoint('x', '10.0.0.9')
    expect([
      ...peersIn([
        slice([
          byHand,
          endpoint('node', '10.0.0.8'),
          { ...byHand, targetRef: { kind: 'Node', name: 'n' } },
        ]),
      ]),
    ]).toHaveLength(1)
  })
})
