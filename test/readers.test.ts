import { isUtf8 } from 'node:buffer'
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
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

/**
 * Set `READERS_CASES` for a longer run. 1,000,000 cases of this seed found no difference that is
 * not refused.
 */
const cases = Number(process.env['READERS_CASES'] ?? 100_000)
const seed = 20_261_130
const casesAtOnce = 50_000
const patient = { timeout: 1_800_000 }

const paths = [
  ['id'],
  ['method'],
  ['params', 'name'],
  ['params', 'uri'],
  ['params', 'requestId'],
  ['params', '_meta', 'progressToken'],
]

/** Go's installer does not put Go into `PATH`. */
const environment = {
  ...process.env,
  PATH: `${process.env['PATH'] ?? ''}${delimiter}/usr/local/go/bin`,
  GO111MODULE: 'off',
}
const folder = fileURLToPath(new URL('readers', import.meta.url))

/** The lines that a program prints for the lines of its input. */
function linesOf(command: string, args: readonly string[], input: string): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: environment,
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const chunks: Buffer[] = []
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
    child.on('error', reject)
    child.on('close', (code) =>
      code === 0
        ? resolve(Buffer.concat(chunks).toString().split('\n').slice(0, -1))
        : reject(new Error(`${command} ended with exit code ${code}.`)),
    )
    child.stdin.end(input)
  })
}

function isThere(command: string, ...args: string[]): boolean {
  try {
    execFileSync(command, args, { env: environment, stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/**
 * A value as the readers print it: a string as its UTF-16 units, a number as its text, other values
 * by their kind.
 */
function shown(value: unknown, raw?: string): string {
  if (typeof value === 'number') return `n${raw ?? value}`
  if (typeof value === 'string') return `s${Buffer.from(value, 'utf16le').swap16().toString('hex')}`
  return value === null || typeof value === 'boolean' ? `l${value}` : 'o'
}

/** The decisive values that this gateway reads. */
function ours(bytes: Buffer): string {
  return messagesOf(bytes)
    .map((message) =>
      paths
        .map((path) => {
          const slice = valueAt(bytes, path, message)
          const raw = slice === undefined ? undefined : sliceText(bytes, slice)
          return raw === undefined ? '' : shown(JSON.parse(raw), raw)
        })
        .join(),
    )
    .join('|')
}

/** The ids and methods of messages by the other way in which this gateway reads them. */
const outlines = (bytes: Buffer): string =>
  messagesOf(bytes)
    .map((message) => {
      const { id, method } = outline(bytes, message)
      return `${id === undefined ? '' : shown(JSON.parse(id), id)},${method === undefined ? '' : shown(method)}`
    })
    .join('|')

function messagesOf(bytes: Buffer): Slice[] {
  const whole = { start: 0, end: bytes.length }
  return bytes.toString().trimStart().startsWith('[') ? elements(bytes, whole) : [whole]
}

/** The decisive values that `JSON.parse` sees. */
function byJsonParse(text: string): string {
  const parsed: unknown = JSON.parse(text)
  return (Array.isArray(parsed) ? parsed : [parsed])
    .map((message: unknown) =>
      paths
        .map((path) => {
          let value = message
          for (const name of path)
            value = (value as Record<string, unknown> | null | undefined)?.[name]
          return value === undefined ? '' : shown(value)
        })
        .join(),
    )
    .join('|')
}

/** Numbers as doubles, for readers that read them so. */
const asDoubles = (values: string): string =>
  values.replaceAll(/(?<=^|[,|])n([^,|]+)/g, (_, number: string) => `n${Number(number)}`)

function isJson(bytes: Buffer): boolean {
  try {
    JSON.parse(bytes.toString())
    return isUtf8(bytes)
  } catch {
    return false
  }
}

interface Reader {
  readonly name: string
  readonly isMissing: boolean
  /** How the gateway's values look to this reader. */
  readonly view: (values: string) => string
  /** Prepares the reader. Its answer reads texts. */
  readonly open: (temporary: string) => (texts: readonly Buffer[]) => Promise<string[]>
}

const byLines =
  (command: string, ...args: string[]) =>
  (texts: readonly Buffer[]): Promise<string[]> =>
    linesOf(command, args, texts.map((text) => `${text.toString('base64')}\n`).join(''))

const readers: Reader[] = [
  {
    name: 'JSON.parse of JavaScript',
    isMissing: false,
    view: asDoubles,
    open: () => (texts) => Promise.resolve(texts.map((text) => byJsonParse(text.toString()))),
  },
  {
    name: 'json of Python',
    isMissing: !isThere('python3', '--version'),
    view: (values) => values,
    open: () => byLines('python3', join(folder, 'reader.py')),
  },
  {
    name: 'encoding/json of Go',
    isMissing: !isThere('go', 'version'),
    view: (values) => values,
    open: (temporary) => {
      const program = join(temporary, 'reader')
      execFileSync('go', ['build', '-o', program, join(folder, 'reader.go')], { env: environment })
      return byLines(program)
    },
  },
]

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

test(
  'the two ways in which the gateway reads a message agree on every message that it lets through',
  patient,
  () => {
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
  },
)

for (const { name, isMissing, view, open } of readers)
  test.skipIf(isMissing)(
    `${name} sees the decisive values that the gateway sees in every message that it lets through`,
    patient,
    async () => {
      const temporary = mkdtempSync(join(tmpdir(), 'readers-'))
      try {
        const read = open(temporary)
        let alike = 0
        let refusedForReason = 0
        for (let round = 0; round < rounds; round += 1) {
          const these = casesOf(round)
          const seen = await read(these.map(({ text }) => text))
          expect(seen.length).toBe(these.length)

          for (const [at, { text, values, isRefused }] of these.entries()) {
            const theirs = seen[at] as string
            if (theirs === '!') continue
            const expected = view(values)
            if (isRefused) refusedForReason += Number(theirs !== expected)
            else if (theirs === expected) alike += 1
            else expect([text.toString(), theirs]).toEqual(['', expected])
          }
        }
        // The cases hold many messages of both kinds, or the comparison would say nothing.
        expect(alike).toBeGreaterThan((rounds * casesAtOnce) / 5)
        expect(refusedForReason).toBeGreaterThan((rounds * casesAtOnce) / 100)
      } finally {
        rmSync(temporary, { recursive: true })
      }
    },
  )
