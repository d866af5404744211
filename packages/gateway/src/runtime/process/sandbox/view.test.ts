import { expect, test } from 'vitest'
import { isWithin, shows, viewArguments, type View } from './view.ts'

const nothing: View = { hidden: [], shown: [], secret: [], home: '/homes/a', mounts: [] }

/** Lists the step for each path, in order, without the modes of new folders. */
function stepsOf(view: Partial<View>): string[] {
  const [...left] = viewArguments({ ...nothing, ...view })
  const steps: string[] = []
  for (let option = left.shift(); option !== undefined; option = left.shift()) {
    if (option === '--perms') left.shift()
    else if (option.endsWith('bind') || option.endsWith('-try'))
      steps.push(`${option} ${left.shift()} ${left.shift()}`)
    else steps.push(`${option} ${left.shift()}`)
  }
  return steps.slice(4)
}

test('a view is read-only but for the home', () => {
  expect(viewArguments(nothing).slice(0, 3)).toEqual(['--ro-bind', '/', '/'])
  expect(stepsOf({})).toEqual(['--bind /homes/a /homes/a'])
})

test('folders in memory have a size where one is given', () => {
  const view = { ...nothing, hidden: ['/tmp', '/run'], temporaryBytes: 4096 }
  const text = viewArguments(view).join(' ')

  expect(text).toContain('--size 4096 --perms 1777 --tmpfs /dev/shm')
  expect(text).toContain('--size 4096 --perms 1777 --tmpfs /tmp')
  expect(text).toContain('--size 4096 --perms 0755 --tmpfs /run')
  expect(viewArguments(nothing)).not.toContain('--size')
})

test('a hidden folder is empty, and a folder in it is not hidden twice', () => {
  expect(stepsOf({ hidden: ['/home/op/data', '/home/op'] })).toEqual([
    '--tmpfs /home/op',
    '--bind /homes/a /homes/a',
  ])
})

test('a shown folder lies over its hidden one, with passable folders above it', () => {
  const view = { hidden: ['/home/op'], shown: ['/home/op/src/server/lib', '/home/op/src/server'] }

  expect(stepsOf(view).slice(1, -1)).toEqual([
    '--dir /home/op',
    '--dir /home/op/src',
    '--ro-bind-try /home/op/src/server /home/op/src/server',
  ])
})

test('a hidden folder is never shown as a whole', () => {
  const view = { hidden: ['/home/op', '/tmp'], shown: ['/home/op', '/tmp', '/usr/bin'] }

  expect(stepsOf(view)).toEqual(['--tmpfs /tmp', '--tmpfs /home/op', '--bind /homes/a /homes/a'])
})

test('secrets are covered where they would be seen, and are not named elsewhere', () => {
  const steps = stepsOf({
    hidden: ['/home/op'],
    shown: ['/home/op/src'],
    secret: [
      { path: '/home/op/src/data', isFolder: true },
      { path: '/home/op/src/config.yaml', isFolder: false },
      { path: '/home/op/.pgpass', isFolder: false },
      { path: '/etc/mcp/secrets', isFolder: true },
    ],
  })

  expect(steps.filter((step) => /data|config|pgpass|secrets/.test(step))).toEqual([
    '--tmpfs /etc/mcp/secrets',
    '--tmpfs /home/op/src/data',
    '--ro-bind /dev/null /home/op/src/config.yaml',
  ])
  expect(steps.indexOf('--tmpfs /home/op/src/data')).toBeGreaterThan(
    steps.indexOf('--ro-bind-try /home/op/src /home/op/src'),
  )
})

test('secrets and homes in a folder of the operator stay covered', () => {
  const steps = stepsOf({
    hidden: ['/srv/homes'],
    secret: [
      { path: '/srv/data', isFolder: true },
      { path: '/srv/homes', isFolder: true },
      { path: '/srv/keys.yaml', isFolder: false },
    ],
    home: '/srv/homes/a',
    mounts: [
      { path: '/srv/data/public', readOnly: true },
      { path: '/srv', readOnly: false },
    ],
  })

  expect(steps.slice(1)).toEqual([
    '--bind /srv /srv',
    '--tmpfs /srv/data',
    '--tmpfs /srv/homes',
    '--dir /srv/homes',
    '--bind /srv/homes/a /srv/homes/a',
    '--ro-bind /dev/null /srv/keys.yaml',
    '--ro-bind /srv/data/public /srv/data/public',
  ])
})

test('a secret in a folder of the operator is covered within a folder of secrets too', () => {
  const steps = stepsOf({
    hidden: ['/srv/homes'],
    secret: [
      { path: '/srv', isFolder: true },
      { path: '/srv/shared/token', isFolder: false },
      { path: '/srv/shared/keys', isFolder: true },
      { path: '/srv/shared/keys/one', isFolder: false },
      { path: '/srv/homes/a/token', isFolder: false },
      { path: '/srv/other', isFolder: false },
    ],
    home: '/srv/homes/a',
    mounts: [{ path: '/srv/shared', readOnly: true }],
  })

  expect(steps.filter((step) => !step.startsWith('--dir'))).toEqual([
    '--tmpfs /srv/homes',
    '--tmpfs /srv',
    '--ro-bind /srv/shared /srv/shared',
    '--bind /srv/homes/a /srv/homes/a',
    '--tmpfs /srv/shared/keys',
    '--ro-bind /dev/null /srv/shared/token',
    '--ro-bind /dev/null /srv/homes/a/token',
  ])
})

test('a secret in a shown folder is covered, though both lie in a hidden folder of secrets', () => {
  const view = {
    hidden: ['/home/op'],
    shown: ['/home/op/data/program'],
    secret: [
      { path: '/home/op/data', isFolder: true },
      { path: '/home/op/data/program/token', isFolder: false },
    ],
  }

  expect(stepsOf(view)).toContain('--ro-bind /dev/null /home/op/data/program/token')
  expect(shows({ ...nothing, ...view }, '/home/op/data/program/other')).toBe(true)
  expect(shows({ ...nothing, ...view }, '/home/op/data/program/token')).toBe(false)
  expect(shows({ ...nothing, ...view }, '/home/op/data/keys')).toBe(false)
})

test('the folders of the operator lie over hidden ones, read-only unless they are not', () => {
  const mounts = [
    { path: '/srv/docs', readOnly: true },
    { path: '/home/op/notes', readOnly: false },
  ]

  expect(stepsOf({ hidden: ['/home/op'], mounts }).slice(2)).toEqual([
    '--ro-bind /srv/docs /srv/docs',
    '--dir /home/op',
    '--bind /home/op/notes /home/op/notes',
  ])
})

test('a folder whose name only begins alike is another folder', () => {
  expect(isWithin('/home/operator', '/home/op')).toBe(false)
  expect(isWithin('/home/op/..data', '/home/op')).toBe(true)
  expect(isWithin('/home/op', '/home/op')).toBe(true)
})
