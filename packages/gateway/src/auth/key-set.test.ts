import { generateKeyPairSync } from 'node:crypto'
import type { JWK } from 'jose'
import { beforeAll, describe, expect, test } from 'vitest'
import { KeySet } from './key-set.ts'

let first: JWK, second: JWK, weak: JWK
beforeAll(() => {
  const jwk = (kid: string, modulusLength: number): JWK => ({
    ...generateKeyPairSync('rsa', { modulusLength }).publicKey.export({ format: 'jwk' }),
    kid,
  })
  first = jwk('first', 2048)
  second = jwk('second', 2048)
  weak = jwk('weak', 512)
})

/** An issuer whose keys, failures and clock the test decides. */
class Scene {
  keys: readonly unknown[] = [first]
  failing = false
  now = 0
  fetches = 0
  readonly warnings: string[] = []
  answer: (() => Promise<void>) | undefined
  readonly set = new KeySet({
    fetch: async () => {
      this.fetches += 1
      await this.answer?.()
      if (this.failing) throw new Error('down')
      return { keys: this.keys }
    },
    warn: (what) => this.warnings.push(what),
    now: () => this.now,
  })

  async outcome(kid: string | undefined, alg = 'RS256'): Promise<string> {
    try {
      const key = await this.set.find({ alg, ...(kid === undefined ? {} : { kid }) })
      return key.jwk.kid ?? ''
    } catch (error) {
      return (error as { code: string }).code
    }
  }
}

const minute = 60_000

describe('the keys of an issuer', () => {
  test('keys are fetched by one request, however many wait for them', async () => {
    const scene = new Scene()
    const outcomes = await Promise.all(Array.from({ length: 100 }, () => scene.outcome('first')))
    expect(new Set(outcomes)).toEqual(new Set(['first']))
    expect(scene.fetches).toBe(1)
  })

  test('keys are fetched again for an unknown one, so a rotation needs no restart', async () => {
    const scene = new Scene()
    await scene.outcome('first')
    scene.keys = [second]
    expect(await scene.outcome('second')).toBe('second')
    expect(scene.fetches).toBe(2)
  })

  test('made-up key ids do not make the gateway ask without limit', async () => {
    const scene = new Scene()
    for (let index = 0; index < 1000; index += 1)
      expect(await scene.outcome(`made-up-${index}`)).toBe('unauthenticated')
    expect(scene.fetches).toBeLessThanOrEqual(6)
    scene.now += 31_000
    scene.keys = [second]
    expect(await scene.outcome('second')).toBe('second')
  })

  test('withdrawn keys are marked so, and others stay the same', async () => {
    const scene = new Scene()
    scene.keys = [first, second]
    const [one, two] = [
      await scene.set.find({ alg: 'RS256', kid: 'first' }),
      await scene.set.find({ alg: 'RS256', kid: 'second' }),
    ]
    scene.keys = [second]
    await scene.outcome('unknown')
    expect([one.withdrawn, two.withdrawn]).toEqual([true, false])
    expect(await scene.set.find({ alg: 'RS256', kid: 'second' })).toBe(two)
  })

  test('keys outlive an outage of the issuer for a day, and no longer', async () => {
    const scene = new Scene()
    await scene.outcome('first')
    scene.failing = true
    scene.now = 23 * 60 * minute
    expect(await scene.outcome('first')).toBe('first')
    scene.now = 25 * 60 * minute
    expect(await scene.outcome('first')).toBe('issuer_unavailable')
    scene.failing = false
    scene.now += 6000
    expect(await scene.outcome('first')).toBe('first')
  })

  test('keys are refreshed beside the requests, which do not wait', async () => {
    const scene = new Scene()
    await scene.outcome('first')
    scene.now = 11 * minute
    let answered = (): void => undefined
    scene.answer = () => new Promise((resolve) => (answered = resolve))
    expect(await scene.outcome('first')).toBe('first')
    expect(scene.fetches).toBe(2)
    answered()
  })

  test('keys are not requested in a storm while the issuer is down', async () => {
    const scene = new Scene()
    scene.failing = true
    for (let index = 0; index < 100; index += 1)
      expect(await scene.outcome('first')).toBe('issuer_unavailable')
    expect(scene.fetches).toBe(1)
    expect(scene.warnings).toEqual(['the keys could not be fetched'])
  })

  test('keys without a name are used only when there is no choice', async () => {
    const scene = new Scene()
    expect(await scene.outcome(undefined)).toBe('first')
    scene.keys = [first, second]
    scene.now = 25 * 60 * minute
    expect(await scene.outcome(undefined)).toBe('unauthenticated')
  })

  test.each([
    '../../etc/passwd',
    'https://evil.example/jwks',
    "' OR 1=1",
    'x'.repeat(10_000),
    '__proto__',
  ])('a kid such as %j is only looked up', async (kid) => {
    expect(await new Scene().outcome(kid)).toBe('unauthenticated')
  })

  test('keys of 512 bits, shared secrets and keys for other purposes are not used', async () => {
    const scene = new Scene()
    scene.keys = [
      first,
      weak,
      { kty: 'oct', k: 'c2VjcmV0', kid: 'shared' },
      { ...second, kid: 'encrypts', use: 'enc' },
      { ...second, kid: 'signs', key_ops: ['sign'] },
      { ...second, kid: 7 },
      null,
      'text',
    ]
    for (const kid of ['weak', 'shared', 'encrypts', 'signs'])
      expect(await scene.outcome(kid)).toBe('unauthenticated')
    expect(await scene.outcome('shared', 'HS256')).toBe('unauthenticated')
    expect(scene.warnings[0]).toBe(
      'the issuer has 1 RSA keys of less than 2048 bits, which are not used',
    )
  })

  test('an issuer has a hundred keys at most', async () => {
    const scene = new Scene()
    scene.keys = Array.from({ length: 1000 }, (_, index) => ({ ...second, kid: `k${index}` }))
    expect(await scene.outcome('k99')).toBe('k99')
    expect(await scene.outcome('k100')).toBe('unauthenticated')
    expect(scene.warnings[0]).toMatch(/1000 keys, of which the first 100/)
  })

  test.each([{}, { keys: {} }, null, 'text', { keys: [] }])(
    'an answer such as %j has no keys',
    async (answer) => {
      const set = new KeySet({ fetch: async () => answer, warn: () => undefined, now: () => 0 })
      await expect(set.find({ alg: 'RS256', kid: 'k' })).rejects.toMatchObject({
        code: 'issuer_unavailable',
      })
    },
  )

  test('keys fit one algorithm when they say so', async () => {
    const scene = new Scene()
    scene.keys = [{ ...first, alg: 'RS512' }]
    expect([
      await scene.outcome('first', 'RS256'),
      await scene.outcome('first', 'RS512'),
      await scene.outcome('first', 'ES256'),
    ]).toEqual(['unauthenticated', 'first', 'unauthenticated'])
  })
})
