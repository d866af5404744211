import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { newNonce, seal, unseal } from './seal.ts'

const key = randomBytes(32)

test('sealed bytes open with their key, nonce and place, and with nothing else', () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.string(), fc.string(), (content, place, other) => {
      const [plain, nonce, bound] = [Buffer.from(content), newNonce(), Buffer.from(place)]
      const sealed = Buffer.concat(seal(key, nonce, plain, bound))
      expect(unseal(key, nonce, sealed, bound)).toEqual(plain)

      expect(() => unseal(randomBytes(32), nonce, sealed, bound)).toThrow()
      expect(() => unseal(key, newNonce(), sealed, bound)).toThrow()
      expect(() => unseal(key, nonce, sealed.subarray(1), bound)).toThrow()
      if (other !== place) expect(() => unseal(key, nonce, sealed, Buffer.from(other))).toThrow()
    }),
  )
})
