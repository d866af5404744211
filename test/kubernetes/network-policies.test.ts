import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type {
  NetworkPolicy,
  NetworkPolicyPeer,
  NetworkPolicyPort,
} from 'kubernetes-types/networking/v1.js'
import type { LabelSelector } from 'kubernetes-types/meta/v1.js'
import { describe, expect, test } from 'vitest'
import { parseAllDocuments } from 'yaml'

// The test cluster takes NetworkPolicies and does not enforce them. So this code evaluates them by
// the rules of networking.k8s.io/v1: without a policy for a direction everything passes, else only
// the traffic that one of them allows.

type Labels = Readonly<Record<string, string>>
/** A pod by its labels, or an address outside of the pods. */
type Party = { readonly labels: Labels; readonly namespace?: string } | { readonly address: string }
interface Port {
  readonly name: string
  readonly number: number
}

const overlay = fileURLToPath(
  new URL('../../deploy/kubernetes/overlays/production', import.meta.url),
)
const policies = parseAllDocuments(
  execFileSync('kubectl', ['kustomize', overlay], { encoding: 'utf8' }),
)
  .map((document) => document.toJS() as NetworkPolicy)
  .filter(({ kind }) => kind === 'NetworkPolicy')

const ours = (component: string): Party => ({
  labels: { 'app.kubernetes.io/name': 'mcp-gateway', 'app.kubernetes.io/component': component },
})
const workload = (type: string): Party => ({
  labels: {
    'adapter/type': type,
    'adapter/name': 'some',
    'app.kubernetes.io/name': 'mcp-gateway',
    'app.kubernetes.io/component': type,
  },
})
const gateway = ours('gateway')
const toolGateway = ours('tool-gateway')
const adapter = workload('mcp')
const tool = workload('tool')
const http: Port = { name: 'http', number: 8000 }
const peers: Port = { name: 'peers', number: 8001 }
const other: Port = { name: 'http', number: 9123 }
const tls: Port = { name: '', number: 443 }

function selects(
  { matchLabels = {}, matchExpressions = [] }: LabelSelector,
  labels: Labels,
): boolean {
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      if (operator !== 'In') throw new Error(`The operator ${operator} is not known here.`)
      return values.includes(labels[key] ?? '')
    })
  )
}

function within(cidr: string, address: string): boolean {
  const [base = '', bits = '32'] = cidr.split('/')
  const number = (text: string): number =>
    text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
  const size = 2 ** (32 - Number(bits))
  return Math.floor(number(base) / size) === Math.floor(number(address) / size)
}

function isPeer(
  { podSelector, namespaceSelector, ipBlock }: NetworkPolicyPeer,
  party: Party,
): boolean {
  if ('address' in party)
    return (
      ipBlock !== undefined &&
      within(ipBlock.cidr, party.address) &&
      !ipBlock.except?.some((cidr) => within(cidr, party.address))
    )
  if (ipBlock !== undefined) return false
  const { labels, namespace = 'adapter' } = party
  const there =
    namespaceSelector === undefined
      ? namespace === 'adapter'
      : selects(namespaceSelector, { 'kubernetes.io/metadata.name': namespace })
  return there && (podSelector === undefined || selects(podSelector, labels))
}

const isOn = (ports: readonly NetworkPolicyPort[] | undefined, { name, number }: Port): boolean =>
  ports === undefined || ports.some(({ port }) => port === name || port === number)

function passes(direction: 'Ingress' | 'Egress', of: Party, with_: Party, port: Port): boolean {
  if (!('labels' in of) || (of.namespace ?? 'adapter') !== 'adapter') return true
  const concerning = policies.filter(
    ({ spec }) =>
      spec?.policyTypes?.includes(direction) === true && selects(spec.podSelector, of.labels),
  )
  const rules = concerning.flatMap(({ spec }) =>
    direction === 'Ingress'
      ? (spec?.ingress ?? []).map(({ from, ports }) => ({ parties: from, ports }))
      : (spec?.egress ?? []).map(({ to, ports }) => ({ parties: to, ports })),
  )
  return (
    concerning.length === 0 ||
    rules.some(
      ({ parties, ports }) =>
        isOn(ports, port) && (parties?.some((each) => isPeer(each, with_)) ?? true),
    )
  )
}

const mayCall = (from: Party, to: Party, port: Port): boolean =>
  passes('Egress', from, to, port) && passes('Ingress', to, from, port)

describe('the NetworkPolicies of the production overlay', () => {
  test('A6: gateways alone reach tool gateways, and these alone the peers’ port', () => {
    const stranger: Party = { labels: { app: 'anything' } }
    for (const caller of [adapter, tool, stranger, toolGateway])
      expect(mayCall(caller, toolGateway, http)).toBe(false)
    for (const caller of [adapter, tool, stranger])
      expect(mayCall(caller, gateway, peers)).toBe(false)
    expect(mayCall({ labels: {}, namespace: 'elsewhere' }, toolGateway, http)).toBe(false)
    expect(mayCall({ labels: {}, namespace: 'elsewhere' }, gateway, http)).toBe(true)
    expect([
      mayCall(gateway, toolGateway, http),
      mayCall(toolGateway, gateway, peers),
      mayCall(gateway, gateway, peers),
    ]).toEqual([true, true, true])
  })

  test('A7: gateways reach adapters and tools, and tool gateways tools, on any port', () => {
    for (const port of [http, other]) {
      expect([
        mayCall(gateway, adapter, port),
        mayCall(gateway, tool, port),
        mayCall(toolGateway, tool, port),
      ]).toEqual([true, true, true])
      expect(mayCall(toolGateway, adapter, port)).toBe(false)
    }
  })

  test('A8: adapters and tools reach the internet, and nothing inside', () => {
    for (const from of [adapter, tool]) {
      for (const to of [adapter, tool, gateway, toolGateway])
        expect(mayCall(from, to, http)).toBe(false)
      // Metadata of the cloud, the API server, other services of the network.
      for (const address of [
        '169.254.169.254',
        '10.96.0.1',
        '172.20.0.10',
        '192.168.1.1',
        '100.64.0.7',
      ])
        expect(mayCall(from, { address }, tls)).toBe(false)
      expect(mayCall(from, { address: '203.0.113.7' }, tls)).toBe(true)
      const names: Party = { labels: { 'k8s-app': 'kube-dns' }, namespace: 'kube-system' }
      expect([
        mayCall(from, names, { name: 'dns', number: 53 }),
        mayCall(from, names, tls),
      ]).toEqual([true, false])
    }
  })
})
