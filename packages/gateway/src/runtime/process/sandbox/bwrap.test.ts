import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { viewOf } from './bwrap.ts'
import type { SandboxOptions } from '../launch.ts'
import { shows } from './view.ts'

function newFolder(): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'mcpgw-view-')))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

const optionsFor = (folder: string): SandboxOptions => ({
  sandbox: 'bwrap',
  homes: undefined,
  users: { first: 700_000, count: 1 },
  processes: 300,
  mounts: [],
  dataDir: folder,
  privateFiles: [],
  privateFolders: [],
  readableFiles: [],
  // The sandbox hides it, as it hides `/run`.
  userHome: folder,
  program: process.execPath,
  programs: [],
  path: '/usr/bin',
  log: pino({ level: 'silent' }),
})

test('a server sees the file to which resolv.conf leads, and no socket beside it', () => {
  const folder = newFolder()
  const resolver = join(folder, 'resolve')
  mkdirSync(resolver)
  const file = join(resolver, 'stub-resolv.conf')
  for (const each of [file, join(resolver, 'io.systemd.Resolve')]) writeFileSync(each, '')
  symlinkSync(file, join(folder, 'resolv.conf'))
  const view = viewOf(optionsFor(folder), '/homes', join(folder, 'resolv.conf'))

  expect(view.shown).toContain(file)
  expect(shows({ ...view, secret: [] }, resolver)).toBe(false)
})

test('a folder of logs is hidden, unless a server needs something in it', () => {
  const folder = newFolder()
  const [spare, needed] = [join(folder, 'logs'), join(folder, 'project')]
  for (const each of [spare, needed]) mkdirSync(each)
  writeFileSync(join(needed, 'server.js'), '')
  const view = viewOf(
    {
      ...optionsFor('/nowhere'),
      privateFolders: [spare, needed, '/etc', '/'],
      programs: [{ command: ['node', join(needed, 'server.js')] }],
    },
    '/homes',
  )

  expect(view.secret).toEqual([{ path: spare, isFolder: true }])
})

test('a secret in a folder that a link shows is covered in both places', () => {
  const folder = newFolder()
  const release = join(folder, 'releases', '5')
  mkdirSync(join(release, 'data'), { recursive: true })
  writeFileSync(join(release, 'config.yaml'), '')
  const current = join(folder, 'current')
  symlinkSync(release, current)
  const view = viewOf(
    {
      ...optionsFor(folder),
      dataDir: join(current, 'data'),
      privateFiles: [join(current, 'config.yaml')],
      programs: [{ command: ['node', 'server.js'], workingDirectory: current }],
    },
    '/homes',
  )

  for (const place of [release, current]) {
    expect(shows(view, place)).toBe(true)
    expect(shows(view, join(place, 'config.yaml'))).toBe(false)
    expect(shows(view, join(place, 'data'))).toBe(false)
  }
})
