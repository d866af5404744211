import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  eachMember,
  elements,
  onOneLine,
  replaceSlices,
  sliceText,
  valueAt,
  type Slice,
} from './json-slice.ts'
import { outline, requestedProgressToken } from '../message.ts'

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text)
const parsed = (bytes: Uint8Array, slice: Slice): unknown =>
  JSON.parse(new TextDecoder().decode(bytes.subarray(slice.start, slice.end)))

/** JSON text with white space of all kinds between its tokens. */
const spaced = fc
  .tuple(fc.jsonValue(), fc.constantFrom(undefined, 1, '\t', '\r\n '))
  .map(([value, indent]) => ({ value, text: JSON.stringify(value, null, indent) }))

describe('slicing JSON', () => {
  test('the members of an object are what JSON.parse finds', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue()),
        fc.constantFrom(undefined, 2, '\r\n'),
        (object, indent) => {
          const bytes = bytesOf(JSON.stringify(object, null, indent))
          const found: [string, unknown][] = []
          eachMember(
            bytes,
            { start: 0, end: bytes.length },
            (name, value) => void found.push([name, parsed(bytes, value)]),
          )
          expect(found).toEqual(
            Object.entries(JSON.parse(new TextDecoder().decode(bytes)) as object),
          )
        },
      ),
    )
  })

  test('the elements of an array are what JSON.parse finds', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue()), fc.constantFrom(undefined, 2), (array, indent) => {
        const bytes = bytesOf(JSON.stringify(array, null, indent))
        expect(
          elements(bytes, { start: 0, end: bytes.length }).map((slice) => parsed(bytes, slice)),
        ).toEqual(JSON.parse(new TextDecoder().decode(bytes)))
      }),
    )
  })

  test('JSON on one line means the same', () => {
    fc.assert(
      fc.property(spaced, ({ text }) => {
        const line = new TextDecoder().decode(onOneLine(bytesOf(text)))
        expect(line).not.toMatch(/[\r\n\u0085\u2028\u2029]/)
        expect(JSON.parse(line)).toEqual(JSON.parse(text))
      }),
    )
  })

  test('JSON on one line holds no character at which any common reader ends a line', () => {
    const text = JSON.stringify({ a: 'x\u0085y\u2028z\u2029', '\u2028': ['é\u2029'] }, null, 2)
    const line = new TextDecoder().decode(onOneLine(bytesOf(text)))
    expect(line).not.toMatch(/[\r\n\u0085\u2028\u2029]/)
    expect(JSON.parse(line)).toEqual(JSON.parse(text))
  })

  test('replacing an id leaves every other byte as it was', () => {
    const text =
      '{ "params":{"id":7,"big":12345678901234567890,"f":1.0},"jsonrpc":"2.0",' +
      ' "id" : 900719925474099312345 ,"method":"x"}'
    const bytes = bytesOf(text)
    const { idSlice, id } = outline(bytes)
    expect(id).toBe('900719925474099312345')
    const replaced = replaceSlices(bytes, [{ slice: idSlice as Slice, by: bytesOf('1') }])
    expect(new TextDecoder().decode(replaced)).toBe(text.replace('900719925474099312345', '1'))
  })

  test.each([
    ['{"jsonrpc":"2.0","id":0,"method":"ping"}', '0', 'ping', false],
    ['{"jsonrpc":"2.0","id":"","method":"tools/call","params":{}}', '""', 'tools/call', false],
    ['{"result":{"method":"no","id":9},"id":null}', 'null', undefined, true],
    ['{"error":{"code":-1},"id":"a\\"b"}', '"a\\"b"', undefined, true],
    ['{"method":"notifications\\/x"}', undefined, 'notifications/x', false],
  ])('the outline of %s is right', (text, id, method, isResponse) => {
    expect(outline(bytesOf(text))).toMatchObject({ id, method, isResponse })
  })

  test('the progress token is found where it stands, and only there', () => {
    const bytes = bytesOf(
      '{"method":"m","params":{"arguments":{"_meta":{"progressToken":1}},"_meta":{"x":{},' +
        '"progressToken":"t\\u0041"}}}',
    )
    const slice = requestedProgressToken(bytes, outline(bytes))
    expect(sliceText(bytes, slice as Slice)).toBe('"t\\u0041"')
    expect(valueAt(bytes, ['params', 'nothing'])).toBeUndefined()
  })

  test('a byte order mark belongs to the name or the text in which it stands', () => {
    const bytes = bytesOf('{"\ufeffid":1,"name":"\ufeffa"}')
    const names: string[] = []
    eachMember(bytes, { start: 0, end: bytes.length }, (name) => void names.push(name))

    expect(names).toEqual(['\ufeffid', 'name'])
    expect(valueAt(bytes, ['id'])).toBeUndefined()
  })

  test('no bytes at all make the slicing fail or hang', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        outline(bytes)
        elements(bytes, { start: 0, end: bytes.length })
      }),
      { numRuns: 2000 },
    )
  })
})
