import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { GatewayError } from '../core/errors.ts'
import type { SecretReference } from '../core/resource.ts'
import { openSqliteStore } from '../store/sqlite.ts'
import { sampleResource } from '../../test/contracts/samples.ts'
import { HeldSecrets } from './held-secrets.ts'
import type { Found, SecretSource } from './sources.ts'

const folder = mkdtempSync(join(tmpdir(), 'mcpgw-held-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const reference: SecretReference = { source: 'file', name: 'key' }

/** A source whose reads give the answer that the test scripted last. */
class Scripted implements SecretSource {
  answer: Found | Error = { value: 'first' }
  reads = 0

  async admits(): Promise<boolean> {
    return true
  }

  async read(): Promise<Found> {
    this.reads += 1
    if (this.answer instanceof Error) throw this.answer
    return this.answer
  }

  /** Resolves when the source has given the scripted answer. */
  async script(answer: Found | Error): Promise<void> {
    this.answer = answer
    const before = this.reads
    await expect.poll(() => this.reads, { interval: 5 }).toBeGreaterThan(before + 1)
  }
}

async function open(files: Scripted, name: string): Promise<HeldSecrets & AsyncDisposable> {
  const store = openSqliteStore({ file: join(folder, `${name}.db`) })
  const { spec } = sampleResource('x')
  const credential = { header: 'X-Key', secretRef: reference }
  await store.create(sampleResource('one', { spec: { ...spec, credential } }))
  const cluster = { find: () => ({ value: '' }), onChange: () => () => undefined }
  return HeldSecrets.open({ store, files, cluster, refreshMs: 5 })
}

test('a credential stays as it was while its file cannot be read', async () => {
  const files = new Scripted()
  await using held = await open(files, 'kept')
  let told = 0
  held.onChange(() => (told += 1))
  expect(held.find(reference)).toEqual({ value: 'first' })

  await files.script(new GatewayError('store_unavailable', { detail: 'EACCES' }))
  expect(held.find(reference)).toEqual({ value: 'first' })
  await files.script(new Error('EIO'))
  expect([held.find(reference), told]).toEqual([{ value: 'first' }, 0])

  await files.script({ value: 'second' })
  expect([held.find(reference), told]).toEqual([{ value: 'second' }, 1])
  const gone: Found = { reason: 'SecretMissing', message: 'gone' }
  await files.script(gone)
  expect(held.find(reference)).toEqual(gone)
})

test('a credential whose file could never be read says so', async () => {
  const files = new Scripted()
  files.answer = new GatewayError('store_unavailable', { detail: 'no right to read it' })
  await using held = await open(files, 'never')
  expect(held.find(reference)).toEqual({
    reason: 'SecretUnreadable',
    message: 'no right to read it',
  })
})
