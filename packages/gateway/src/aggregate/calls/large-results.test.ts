import { randomBytes } from 'node:crypto'
import { Shares } from '@mcp-gateway/mcp-http'
import { readObject, writeObject, type RawObject } from '@mcp-gateway/protocol'
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { ana, type Loose } from '../../../test/fixtures/scripted-aggregate.ts'
import { LargeResults } from './large-results.ts'
import { Tickets } from './tickets.ts'

const holder = { uid: 'u', principal: ana }

function keeping(room = 1_000_000) {
  const heldBytes = new Shares(room)
  const tickets = new Tickets({ keys: [randomBytes(32)], now: () => Date.now() })
  return { heldBytes, results: new LargeResults({ tickets, self: 'gateway-0', heldBytes }) }
}

const raw = (result: object): RawObject => readObject(JSON.stringify(result)) as RawObject
const parsed = (result: RawObject): Loose => JSON.parse(writeObject(result))
const long = (text: string): RawObject => raw({ content: [{ type: 'text', text }] })

describe('a result that is too long', () => {
  test('the client gets the beginning, and reads the whole in ranges', () => {
    const { results } = keeping()
    const text = 'äöü€😀'.repeat(4000)
    const [preview, link] = parsed(results.shorten(long(text), 10_000, holder, false)).content
    expect(preview.text.startsWith('äöü€😀')).toBe(true)
    expect(Buffer.byteLength(preview.text)).toBeLessThan(4000)
    expect(link).toMatchObject({ type: 'resource_link', size: Buffer.byteLength(text) })
    expect(results.ownerOf(link.uri, holder)).toBe('gateway-0')

    let read = ''
    for (;;) {
      const start = Buffer.byteLength(read)
      const range = results.read(`${link.uri}?start=${start}&bytes=1001`, holder)
      if (!('text' in range) || range.text === '') break
      read += range.text
    }
    expect(read).toBe(text)
  })

  test('ranges of any size make up the whole text', () => {
    const { results } = keeping()
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', minLength: 1200, maxLength: 1500 }),
        fc.integer({ min: 100, max: 400 }),
        (text, size) => {
          const whole = Buffer.from(text).toString()
          const { content } = parsed(results.shorten(long(whole), 10, holder, false))
          let read = ''
          for (let turn = 0; turn < 400; turn += 1) {
            const at = `${content[1].uri}?start=${Buffer.byteLength(read)}&bytes=${size}`
            const range = results.read(at, holder)
            if (!('text' in range) || range.text === '') break
            read += range.text
          }
          expect(read).toBe(whole)
        },
      ),
      { numRuns: 25 },
    )
  })

  test('nobody else can read it, and nobody can after 15 minutes', () => {
    vi.useFakeTimers()
    try {
      const { results, heldBytes } = keeping()
      const { content } = parsed(results.shorten(long('x'.repeat(5000)), 100, holder, false))
      const { uri } = content[1]
      const bob = { ...holder, principal: { ...ana, id: 'bob' } }
      expect(results.read(uri, bob)).toHaveProperty('missing')
      expect(results.read(uri, { ...holder, uid: 'v' })).toHaveProperty('missing')
      expect(results.read(uri, holder)).toHaveProperty('text')
      vi.advanceTimersByTime(15 * 60_000)
      expect(results.read(uri, holder)).toHaveProperty('missing')
      expect(heldBytes.held).toBe(0)
    } finally {
      vi.useRealTimers()
    }
  })

  test('the client is told when there is no room for the rest', () => {
    const { results } = keeping(1000)
    const { content } = parsed(results.shorten(long('x'.repeat(5000)), 100, holder, false))
    expect(content).toHaveLength(1)
    expect(content[0].text).toContain('The rest was dropped')
  })

  test('a shortened result is shorter than the whole, whatever the limit is', () => {
    const { results } = keeping()
    fc.assert(
      fc.property(
        fc.integer({ min: 1024, max: 4096 }),
        fc.integer({ min: 1, max: 8192 }),
        (most, size) => {
          const whole = long('x'.repeat(size))
          const given = results.shorten(whole, most, holder, false)
          if (given !== whole)
            expect(writeObject(given).length).toBeLessThan(writeObject(whole).length)
          if (size > most + 1024) expect(given).not.toBe(whole)
        },
      ),
    )
  })

  test('other content stays, and structured content with a schema is never touched', () => {
    const { results } = keeping()
    const image = { type: 'image', data: 'AA==', mimeType: 'image/png' }
    const text = { type: 'text', text: 'x'.repeat(5000) }
    const mixed = raw({ content: [image, text], structuredContent: { a: 1 } })
    expect(results.shorten(mixed, 100, holder, true)).toBe(mixed)
    const shortened = parsed(results.shorten(mixed, 100, holder, false))
    expect(shortened.content).toContainEqual(image)
    expect(shortened).not.toHaveProperty('structuredContent')
    expect(results.shorten(mixed, 5000, holder, false)).toBe(mixed)
  })
})
