import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createVault } from './vault.ts'

const [one, two, three] = [randomBytes(32), randomBytes(32), randomBytes(32)] as const

describe('a vault', () => {
  test('a vault returns any text, in its place alone, and holds nothing in clear', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string(), fc.string(), (text, place, other) => {
        const vault = createVault([one])
        const sealed = vault.seal(text, place)
        expect(vault.open(sealed, place)).toBe(text)
        if (other !== place) expect(vault.open(sealed, other)).toBeUndefined()
        if (text.length > 3)
          expect(Buffer.from(sealed, 'base64url').includes(Buffer.from(text))).toBe(false)
      }),
    )
  })

  test('a vault seals one text in two ways', () => {
    const vault = createVault([one])
    expect(vault.seal('x', 'p')).not.toBe(vault.seal('x', 'p'))
  })

  test('a vault opens nothing that was changed in one byte, or cut short', () => {
    const vault = createVault([one])
    const bytes = Buffer.from(vault.seal('a secret', 'p'), 'base64url')
    for (let index = 0; index < bytes.length; index += 1) {
      const changed = Buffer.from(bytes)
      changed[index] = (changed[index] as number) ^ 1
      expect(vault.open(changed.toString('base64url'), 'p')).toBeUndefined()
      expect(vault.renew(changed.toString('base64url'), 'p')).toBeUndefined()
      expect(vault.open(bytes.subarray(0, index).toString('base64url'), 'p')).toBeUndefined()
    }
  })

  test('a vault seals with its first key and opens with each', () => {
    const old = createVault([one]).seal('x', 'p')
    const both = createVault([two, one])
    expect(both.open(old, 'p')).toBe('x')
    expect(createVault([two]).open(old, 'p')).toBeUndefined()
    expect(createVault([one]).open(both.seal('x', 'p'), 'p')).toBeUndefined()
  })

  test('a vault seals again what another key has sealed, and leaves the rest', () => {
    const old = createVault([one]).seal('x', 'p')
    const both = createVault([two, one])
    const renewed = both.renew(old, 'p') ?? ''
    expect(createVault([two]).open(renewed, 'p')).toBe('x')
    expect(both.renew(renewed, 'p')).toBe(renewed)
    expect(createVault([three]).renew(old, 'p')).toBeUndefined()
  })

  test('a vault opens a secret that an earlier version sealed', () => {
    const vault = createVault([Buffer.alloc(32, 7)])
    const sealed =
      'AUxRErmHJC0s66Er_wNMZHKkNmW8SBC00MSMTrbuo64p_IRF4r9DgCGlUJA1qCHcYFY21h80UOKGZGBt7hsJ' +
      'Nct81zb5COvmvMfsnLDPQ4zJB-GrvjeELEMU3R8sfOnGeThPK34'
    expect(vault.open(sealed, 'place')).toBe('a secret')
  })
})
