import { readFileSync } from 'node:fs'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openAudited, type AuditedGateway } from '../fixtures/audited-gateway.ts'
import type { Sending, TestGateway } from '../fixtures/gateway.ts'

let opened: AuditedGateway
let gateway: TestGateway
let adapter: string
let file: string
beforeAll(async () => {
  opened = await openAudited()
  ;({ gateway, adapter, file } = opened)
})
afterAll(() => opened[Symbol.asyncDispose]())

const json = 'application/json'
const call = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_note"}}'

/** Gives the call with these bytes, in hexadecimal digits, at the end of the tool's name. */
const named = (bytes: string): Buffer => {
  const at = call.indexOf('"}}')
  return Buffer.concat([
    Buffer.from(call.slice(0, at)),
    Buffer.from(bytes, 'hex'),
    Buffer.from(call.slice(at)),
  ])
}
const swapped = (text: string): Buffer => Buffer.from(text, 'utf16le').swap16()
const utf32 = (text: string): Buffer => Buffer.from(new Uint32Array(Buffer.from(text)).buffer)

const texts: readonly (readonly [string, Buffer])[] = [
  ['a byte that never stands in UTF-8', named('ff')],
  ['a character that is cut short', named('c3')],
  ['an overlong quote', named('c0a2')],
  ['half of a surrogate pair in UTF-8', named('eda080')],
  ['a code point beyond Unicode', named('f4908080')],
  ['a letter in Latin-1', named('e9')],
  ['a byte order mark before it', Buffer.from(`\ufeff${call}`)],
  ['UTF-16, little end first', Buffer.from(call, 'utf16le')],
  ['UTF-16 with a byte order mark', Buffer.from(`\ufeff${call}`, 'utf16le')],
  ['UTF-16, big end first', swapped(call)],
  ['UTF-32', utf32(call)],
  ['a comment', Buffer.from(`{/*"*/${call.slice(1)}`)],
  ['a comma too many', Buffer.from(`${call.slice(0, -1)},}`)],
  ['apostrophes for quotes', Buffer.from(call.replaceAll('"', "'"))],
  ['a second message behind it', Buffer.from(`${call}\n${call}`)],
  ['a number that only some readers know', Buffer.from(`{"x":NaN,${call.slice(1)}`)],
  ['a tab within a string', named('09')],
  ['no byte at all', Buffer.alloc(0)],
]

const types: readonly (readonly [string, Record<string, string | string[]>, Buffer?])[] = [
  ['that names UTF-16', { 'content-type': `${json}; charset=utf-16` }],
  ['that names Shift_JIS', { 'content-type': `${json};charset="Shift_JIS"` }],
  ['that names Latin-1', { 'content-type': `${json}; Charset = iso-8859-1` }],
  ['that names two character sets', { 'content-type': `${json}; charset=utf-8; charset=utf-16` }],
  ['that hides one in quotes', { 'content-type': `${json}; x="; charset=utf-8"; charset*=hz` }],
  ['that stands twice', { 'content-type': [json, `${json}; charset=hz`] }],
  ['of gzip', { 'content-type': json, 'content-encoding': 'gzip' }, gzipSync(call)],
  ['of deflate', { 'content-type': json, 'content-encoding': 'Deflate' }, deflateSync(call)],
  ['of brotli', { 'content-type': json, 'content-encoding': 'br' }, brotliCompressSync(call)],
  ['of gzip that is none', { 'content-type': json, 'content-encoding': 'gzip' }],
  ['of two codings', { 'content-type': json, 'content-encoding': ['identity', 'br'] }],
]

const records = (requestId: string): Record<string, unknown>[] =>
  readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((record) => record['requestId'] === requestId)

let tags = 0

/**
 * Gives the answer, and checks that no part of the request reached a server or the audit log as a
 * call.
 */
async function refused(where: string, sending: Sending): Promise<unknown> {
  const tag = `text-${(tags += 1)}`
  const path = where === '/mcp' ? where : `/adapters/${adapter}/mcp?tag=${tag}`
  const answer = await gateway.send(path, {
    ...sending,
    headers: { 'content-type': json, ...sending.headers, 'x-request-id': tag },
  })
  expect(gateway.events(tag)).toEqual([])
  await expect.poll(() => records(tag)).toMatchObject([{ action: 'mcp.request' }])
  expect(records(tag)[0]).not.toHaveProperty('tool')
  return { status: answer.status, ...(JSON.parse(answer.body.toString()) as object) }
}

const everywhere = <T extends readonly [string, ...unknown[]]>(
  cases: readonly T[],
  sendingOf: (each: T) => Sending,
): [where: string, what: string, sending: Sending][] =>
  cases.flatMap((each) =>
    ['adapter', '/mcp'].map((where): [string, string, Sending] => [
      where,
      each[0],
      sendingOf(each),
    ]),
  )

describe('a message', () => {
  test.each(everywhere(texts, ([, body]) => ({ body })))(
    'a message at %s with %s is refused as no JSON before any server sees it',
    async (where, _what, sending) => {
      expect(await refused(where, sending)).toMatchObject({
        status: 400,
        id: null,
        error: { code: -32700, data: { code: 'invalid_json' } },
      })
    },
  )

  test.each(everywhere(types, ([, headers, body = Buffer.from(call)]) => ({ headers, body })))(
    'a message at %s with a content header %s is refused before any server sees it',
    async (where, _what, sending) => {
      expect(await refused(where, sending)).toMatchObject({
        status: 415,
        id: null,
        error: { code: -32600, data: { code: 'unsupported_media_type' } },
      })
    },
  )

  test.each([
    `${json};charset=utf-8`,
    `${json}; charset="UTF-8"`,
    `${json} ; Charset=utf8 ; profile=x`,
    'APPLICATION/JSON',
  ])('a message of the type %s passes, and may say that it is not compressed', async (type) => {
    const answer = await gateway.mcp(adapter, 'do=echo', {
      headers: { 'content-type': type, 'content-encoding': 'identity' },
      body: named('c3a9f09f9982efbbbf'),
    })
    expect(answer).toMatchObject({ status: 200, body: named('c3a9f09f9982efbbbf') })
  })
})

describe('a body of the REST API', () => {
  const create = (body: Buffer | string, headers: Sending['headers'] = {}) =>
    gateway.send('/api-keys', { headers: { 'content-type': json, ...headers }, body })
  const key = (bytes: string): Buffer =>
    Buffer.concat([Buffer.from('{"name":"k'), Buffer.from(bytes, 'hex'), Buffer.from('"}')])

  test.each([
    ['a byte that never stands in UTF-8', key('ff')],
    ['a letter in Latin-1', key('e9')],
    ['half of a surrogate pair in UTF-8', key('eda080')],
    ['a byte order mark before it', Buffer.from('\ufeff{"name":"k"}')],
    ['UTF-16', Buffer.from('{"name":"k"}', 'utf16le')],
  ])('a body of the REST API with %s is refused as no JSON', async (_what, body) => {
    const answer = await create(body)
    expect(answer.status).toBe(400)
    expect(JSON.parse(answer.body.toString())).toMatchObject({ code: 'invalid_json' })
  })

  test.each(
    types.map(([what, headers, body = Buffer.from('{"name":"k"}')]) => ({ what, headers, body })),
  )('a body of the REST API with a content header $what is refused', async ({ headers, body }) => {
    const answer = await create(body, headers)
    expect(answer.status).toBe(415)
    expect(JSON.parse(answer.body.toString())).toMatchObject({ code: 'unsupported_media_type' })
  })

  test('the refusal of another type names the header to send', async () => {
    const answer = await create(Buffer.from('{"name":"k"}'), { 'content-type': 'text/plain' })

    expect(answer.status).toBe(415)
    expect(JSON.parse(answer.body.toString())).toMatchObject({
      detail: 'The body must be JSON. Send the header Content-Type: application/json.',
    })
  })

  test('a body of the REST API keeps letters in UTF-8', async () => {
    const answer = await create(key('c3a9f09f9982'), { 'content-type': `${json}; charset=utf-8` })
    expect(answer.status).toBe(201)
    expect(JSON.parse(answer.body.toString())).toMatchObject({ name: 'ké🙂' })
  })
})
