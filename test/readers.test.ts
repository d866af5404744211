import { isUtf8 } from 'node:buffer'
import {
  elements,
  findAmbiguity,
  outline,
  sliceText,
  valueAt,
  type Slice,
} from '@mcp-gateway/protocol'
import { expect, test } from 'vitest'
import { HostileMessages } from './readers/hostile-messages.ts'
import { decisivePaths, readers, shown } from './readers/readers.ts'

/**
 * Set `READERS_CASES` for a longer run. 1,000,000 cases of this seed found no difference that is
 * not refused.
 */
const cases = Number(process.env['READERS_CASES'] ?? 100_000)
const seed = 20_261_130
const casesAtOnce = 50_000
const patient = { timeout: 1_800_000 }

/** The decisive values that this gateway reads. */
function ours(bytes: Buffer): string {
  return messagesOf(bytes)
    .map((message) =>
      decisivePaths
        .map((path) => {
          const slice = valueAt(bytes, path, message)
          const raw = slice === undefined ? undefined : sliceText(bytes, slice)
          return raw === undefined ? '' : shown(JSON.parse(raw), raw)
        })
        .join(),
    )
    .join('|')
}

/** Gives the ids and methods of messages by the gateway's second reader. */
const outlines = (bytes: Buffer): string =>
  messagesOf(bytes)
    .map((message) => {
      const { id, method } = outline(bytes, message)
      return (
        `${id === undefined ? '' : shown(JSON.parse(id), id)},` +
        `${method === undefined ? '' : shown(method)}`
      )
    })
    .join('|')

function messagesOf(bytes: Buffer): Slice[] {
  const whole = { start: 0, end: bytes.length }
  return bytes.toString().trimStart().startsWith('[') ? elements(bytes, whole) : [whole]
}

function isJson(bytes: Buffer): boolean {
  try {
    JSON.parse(bytes.toString())
    return isUtf8(bytes)
  } catch {
    return false
  }
}

interface Case {
  readonly text: Buffer
  readonly values: string
  readonly isRefused: boolean
}

/** The cases that are JSON, made once for all readers. */
const made: (readonly Case[])[] = []
const messages = new HostileMessages(seed)

function casesOf(round: number): readonly Case[] {
  while (made.length <= round)
    made.push(
      Array.from({ length: casesAtOnce }, () => Buffer.from(messages.next()))
        .filter(isJson)
        .map((text) => ({
          text,
          values: ours(text),
          isRefused: findAmbiguity(text) !== undefined,
        })),
    )
  return made[round] ?? []
}

const rounds = Math.ceil(cases / casesAtOnce)

test('the gateway’s two readers agree on every message that they let through', patient, () => {
  for (let round = 0; round < rounds; round += 1)
    for (const { text, values, isRefused } of casesOf(round)) {
      if (isRefused) continue
      const expected = values.replaceAll(
        /([^,|]*),([^,|]*)[^|]*/g,
        (_, id: string, method: string) => `${id},${method.startsWith('s') ? method : ''}`,
      )
      const outlined = outlines(text)
      if (outlined !== expected) expect([text.toString(), outlined]).toEqual(['', expected])
    }
})

for (const reader of readers)
  test(
    `${reader.name} sees the gateway’s decisive values in every message that passes`,
    patient,
    async ({ skip }) => {
      const start = performance.now()
      const opened = await reader.open()
      if ('missing' in opened) return skip(opened.missing)

      let alike = 0
      let refusedForReason = 0
      for (let round = 0; round < rounds; round += 1) {
        const these = casesOf(round)
        const seen = await opened.read(these.map(({ text }) => text))
        expect(seen.length).toBe(these.length)

        for (const [at, { text, values, isRefused }] of these.entries()) {
          const theirs = seen[at] as string
          if (theirs === '!') continue
          const agrees = reader.agrees(values, theirs)
          if (isRefused) refusedForReason += Number(!agrees)
          else if (agrees) alike += 1
          else expect([text.toString(), theirs]).toEqual(['', values])
        }
      }
      // For the longer run.
      if (process.env['READERS_CASES'] !== undefined)
        console.log(
          `${reader.name}: ${alike} of ${rounds * casesAtOnce} alike,` +
            ` ${refusedForReason} differ and ` +
            `are refused; ${Math.round((performance.now() - start) / 1000)} s`,
        )
      // The cases hold many messages of both kinds, or the comparison would say nothing.
      expect(alike).toBeGreaterThan((rounds * casesAtOnce) / reader.oneAlikeIn)
      expect(refusedForReason).toBeGreaterThan((rounds * casesAtOnce) / reader.oneRefusedIn)
    },
  )
