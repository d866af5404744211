import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { OwnerUsers } from './owner-users.ts'

const range = { first: 700_000, count: 10 }

function usersFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'mcpgw-users-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return join(folder, 'sandbox-users.json')
}

test('a user id that cannot be stored is given to nobody, and later calls try again', () => {
  const file = usersFile()
  const users = new OwnerUsers(file, range)
  const first = users.of('first')
  // Users write their state to this place, which is a folder now. A full disk fails in the same
  // way.
  mkdirSync(`${file}.next`)

  expect(() => users.of('second')).toThrow(/EISDIR/)
  expect(() => users.of('second')).toThrow(/EISDIR/)
  expect(users.of('first')).toBe(first)

  rmdirSync(`${file}.next`)
  const second = users.of('second')
  expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ first, second })
})

test('an owner keeps its user id over restarts, and no two owners have the same', () => {
  const file = usersFile()
  const owners = Array.from({ length: range.count }, (_, index) => `owner ${index}`)
  const before = owners.map((owner) => new OwnerUsers(file, range).of(owner))

  expect(new Set(before).size).toBe(range.count)
  const users = new OwnerUsers(file, range)
  expect(owners.map((owner) => users.of(owner))).toEqual(before)
  expect(() => users.of('one more')).toThrow(/runtime\.sandboxUsers\.count/)
})
