import { expect, test } from 'vitest'
import { TaskOwners } from './task-owners.ts'

test('a caller with too many tasks loses its own oldest ones, and others lose none', () => {
  const owners = new TaskOwners<string>()
  owners.made('of ann', 'ann')
  owners.made('of bob', 'bob')

  for (let index = 0; index < 10_005; index += 1) owners.made(`eve ${index}`, 'eve')

  expect(['of ann', 'of bob'].map((id) => owners.ownerOf(id))).toEqual(['ann', 'bob'])
  const remembered = (index: number): boolean => owners.ownerOf(`eve ${index}`) === 'eve'
  expect([0, 6, 7, 10_004].map(remembered)).toEqual([false, false, true, true])
})

test('a task of a new caller is remembered when others hold all room', () => {
  const owners = new TaskOwners<string>()
  for (let index = 0; index < 10_000; index += 1) owners.made(`eve ${index}`, 'eve')

  owners.made('of ann', 'ann')

  expect(owners.ownerOf('of ann')).toBe('ann')
  expect([0, 1].map((index) => owners.ownerOf(`eve ${index}`))).toEqual([undefined, 'eve'])
})

test('the oldest task is forgotten when every caller holds one', () => {
  const owners = new TaskOwners<string>()
  for (let index = 0; index < 10_002; index += 1) owners.made(`task ${index}`, `caller ${index}`)

  expect([1, 2, 10_001].map((index) => owners.ownerOf(`task ${index}`))).toEqual([
    undefined,
    'caller 2',
    'caller 10001',
  ])
})

test('a task stays with its first owner', () => {
  const owners = new TaskOwners<string>()
  owners.made('task', 'ann')
  owners.made('task', 'eve')

  expect(owners.ownerOf('task')).toBe('ann')
})
