import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Lease } from 'kubernetes-types/coordination/v1.js'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { KubernetesApi, KubernetesError, type ApiRequest } from './api/api.ts'
import { leaseTerms } from './lease.ts'

/**
 * An API server with one Lease, which takes renewals and does not answer them. A real server does
 * not do this on command.
 */
class SilentServer {
  lease: Lease | undefined
  readonly renewed: Promise<void>
  /** If true, the server takes renewals only after a client has looked at the Lease again. */
  readonly #late: boolean
  #renewed!: () => void
  #take: (() => void) | undefined
  #version = 0

  constructor(late: boolean) {
    this.#late = late
    this.renewed = new Promise((resolve) => (this.#renewed = resolve))
  }

  async find<T>(): Promise<T | undefined> {
    const found = this.lease
    this.#take?.()
    this.#take = undefined
    return found as T | undefined
  }

  async json<T>(
    _method: string,
    _path: string,
    signal: AbortSignal,
    { body }: ApiRequest = {},
  ): Promise<T> {
    const lease = body as Lease
    const renewal = this.lease !== undefined && lease.spec?.holderIdentity !== ''
    if (lease.metadata?.resourceVersion !== this.lease?.metadata?.resourceVersion)
      throw new KubernetesError(409, { reason: 'Conflict' })
    const take = (): void => {
      this.lease = {
        ...lease,
        metadata: { ...lease.metadata, resourceVersion: String((this.#version += 1)) },
      }
    }
    if (renewal && this.#late) this.#take = take
    else take()
    if (renewal) {
      this.#renewed()
      await new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(new Error('aborted'))),
      )
    }
    return this.lease as T
  }
}

const others = {
  namespace: 'adapter',
  name: 'gateway',
  holder: 'one',
  problems: () => new Map(),
  log: pino({ level: 'silent' }),
}

/** Opens the API by a kubeconfig of its own. */
async function openApi(server: string): Promise<KubernetesApi> {
  const folder = mkdtempSync(join(tmpdir(), 'mcpgw-lease-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const named = {
    clusters: [{ name: 'a', cluster: { server, 'insecure-skip-tls-verify': true } }],
    users: [{ name: 'a', user: {} }],
  }
  const contexts = [{ name: 'a', context: { cluster: 'a', user: 'a' } }]
  writeFileSync(
    join(folder, 'kubeconfig'),
    JSON.stringify({ ...named, contexts, 'current-context': 'a' }),
  )
  return KubernetesApi.open({ kubeconfig: join(folder, 'kubeconfig') })
}

test('a Lease is requested again when no answer comes in half of its duration', async () => {
  let requests = 0
  const server = createServer((request, response) => {
    requests += 1
    if (requests > 1) response.writeHead(request.method === 'GET' ? 404 : 201).end('{}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  await using api = await openApi(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const stop = new AbortController()
  const told: (string | undefined)[] = []
  for await (const term of leaseTerms(
    { ...others, api, durationSeconds: 1 },
    stop.signal,
    (problem) => told.push(problem),
  )) {
    expect(term.aborted).toBe(false)
    stop.abort()
  }
  // A busy machine may make the client ask more than twice.
  expect([...new Set(told)]).toEqual([
    expect.stringMatching(/cannot be reached: Headers Timeout/),
    undefined,
  ])
}, 20_000)

test.each([
  ['without an answer', false],
  ['after it was looked at', true],
])(
  'a stopping holder gives its Lease up, though its last renewal was taken %s',
  async (_when, late) => {
    const api = new SilentServer(late)
    const stop = new AbortController()
    for await (const term of leaseTerms(
      { ...others, api, durationSeconds: 4 },
      stop.signal,
      () => undefined,
    )) {
      expect(term.aborted).toBe(false)
      await api.renewed
      stop.abort()
    }
    expect(api.lease?.spec?.holderIdentity).toBe('')
  },
)

test('a Lease of another holder is taken only when it is expired', async () => {
  const renewals = 8
  let looks = 0
  /** The other holder renews the Lease before each of the first looks, and then dies. */
  const api = {
    find: async <T>(): Promise<T> => {
      looks += 1
      const resourceVersion = String(Math.min(looks, renewals))
      const spec = { holderIdentity: 'another', leaseDurationSeconds: 1, leaseTransitions: 0 }
      return { metadata: { name: 'gateway', resourceVersion }, spec } as T
    },
    json: async <T>(
      _method: string,
      _path: string,
      _signal: AbortSignal,
      { body }: ApiRequest = {},
    ): Promise<T> => body as T,
  }
  const stop = new AbortController()
  let lookAtStart = 0
  for await (const term of leaseTerms(
    { ...others, api, durationSeconds: 1 },
    stop.signal,
    () => undefined,
  )) {
    expect(term.aborted).toBe(false)
    lookAtStart = looks
    stop.abort()
  }
  // The code must see the last renewal, and see it again at the maximum age of the Lease.
  expect(lookAtStart).toBeGreaterThan(renewals + 1)
}, 20_000)
