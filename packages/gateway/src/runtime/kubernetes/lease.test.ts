import type { Lease } from 'kubernetes-types/coordination/v1.js'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { KubernetesError, type ApiRequest } from './api.ts'
import { leaseTerms } from './lease.ts'

/** An API server with one Lease, which takes renewals and does not answer them: for what a real one does not do on command. */
class SilentServer {
  lease: Lease | undefined
  readonly renewed: Promise<void>
  #renewed!: () => void
  #version = 0

  constructor() {
    this.renewed = new Promise((resolve) => (this.#renewed = resolve))
  }

  async find<T>(): Promise<T | undefined> {
    return this.lease as T | undefined
  }

  async json<T>(_method: string, _path: string, signal: AbortSignal, { body }: ApiRequest = {}): Promise<T> {
    const lease = body as Lease
    const renewal = this.lease !== undefined && lease.spec?.holderIdentity !== ''
    if (lease.metadata?.resourceVersion !== this.lease?.metadata?.resourceVersion) throw new KubernetesError(409, { reason: 'Conflict' })
    this.lease = { ...lease, metadata: { ...lease.metadata, resourceVersion: String((this.#version += 1)) } }
    if (renewal) {
      this.#renewed()
      await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('aborted'))))
    }
    return this.lease as T
  }
}

test('a Lease is given up by who stops, though its last renewal was taken without an answer', async () => {
  const api = new SilentServer()
  const stop = new AbortController()
  const options = { api, namespace: 'adapter', name: 'gateway', holder: 'one', durationSeconds: 4, problems: () => new Map() }
  for await (const term of leaseTerms({ ...options, log: pino({ level: 'silent' }) }, stop.signal, () => undefined)) {
    expect(term.aborted).toBe(false)
    await api.renewed
    stop.abort()
  }
  expect(api.lease?.spec?.holderIdentity).toBe('')
})
