import { dirname, relative } from 'node:path'

/** The files of this machine as a process in `bwrap` sees them. All paths are absolute and real. */
export interface View {
  /** Folders that are empty in the view. */
  readonly hidden: readonly string[]
  /** Paths that stay readable although they are in a hidden folder. */
  readonly shown: readonly string[]
  /** The gateway's own files and folders. They stay invisible even inside `shown` paths. */
  readonly secret: readonly { readonly path: string; readonly isFolder: boolean }[]
  readonly home: string
  readonly mounts: readonly { readonly path: string; readonly readOnly: boolean }[]
  /** Bytes for each in-memory folder; undefined where `bwrap` cannot limit them. */
  readonly temporaryBytes?: number | undefined
}

/** Folders that everybody may write to. They have the usual rights in the view, too. */
const forEverybody = ['/tmp', '/var/tmp', '/dev/shm']

/**
 * The arguments of `bwrap` for a view: only home and writable mounts can be written. Later layers
 * cover earlier ones, so deeper come later: secrets stay covered, mounts in hidden folders show.
 */
export function viewArguments(view: View): string[] {
  return layersOf(view).flatMap(({ steps }) => steps.flat())
}

/** Tells whether a view shows a path, and new files in it. */
export function shows(view: Omit<View, 'home'>, path: string): boolean {
  return isShown(layersOf(view), path)
}

/** One option of `bwrap` with its arguments. */
type Step = readonly string[]

/** A part of a view that lies over the parts before it. */
interface Layer {
  readonly path: string
  /** True if it shows the files of the machine; false if it covers them. */
  readonly shows: boolean
  readonly steps: readonly Step[]
}

function layersOf(view: Omit<View, 'home'> & Partial<View>): Layer[] {
  const { hidden, shown, secret, home, mounts, temporaryBytes } = view
  const size = temporaryBytes === undefined ? [] : ['--size', String(temporaryBytes)]

  const emptied = (path: string): Step => [
    ...size,
    '--perms',
    forEverybody.includes(path) ? '1777' : '0755',
    '--tmpfs',
    path,
  ]

  const roots = outermost(hidden)
  const isHidden = (path: string) => roots.some((root) => isWithin(path, root))
  const visible = outermost(shown.filter((path) => isHidden(path) && !hidden.includes(path)))

  const parentsOf = (path: string): Step[] =>
    foldersAbove(path)
      .filter(isHidden)
      .map((folder) => ['--perms', '0755', '--dir', folder])

  const bound = (path: string, option: string): Layer => ({
    path,
    shows: true,
    steps: [...parentsOf(path), [option, path, path]],
  })

  const covered = (path: string, step: Step): Layer => ({ path, shows: false, steps: [step] })
  const machine: Step[] = [
    ['--ro-bind', '/', '/'],
    ['--dev', '/dev'],
    ['--proc', '/proc'],
  ]
  const layers: Layer[] = [
    { path: '/', shows: true, steps: machine },
    ...['/dev/shm', ...roots].map((path) => covered(path, emptied(path))),
    ...visible.map((path) => bound(path, '--ro-bind-try')),
  ]

  // If two layers have the same path, the later layer wins.
  const deeper = [
    ...mounts.map(({ path, readOnly }) => bound(path, readOnly ? '--ro-bind' : '--bind')),
    ...secret.map(({ path, isFolder }) =>
      covered(path, isFolder ? emptied(path) : ['--ro-bind', '/dev/null', path]),
    ),
    ...(home === undefined ? [] : [bound(home, '--bind')]),
  ]
  for (const layer of deeper.toSorted((a, b) => a.path.length - b.path.length))
    // In a hidden folder, a cover would reveal the name of the secret.
    if (layer.shows || isShown(layers, layer.path)) layers.push(layer)

  return layers
}

function isShown(layers: readonly Layer[], path: string): boolean {
  return layers.findLast((layer) => isWithin(path, layer.path))?.shows === true
}

export function isWithin(path: string, folder: string): boolean {
  const way = relative(folder, path)
  return way === '' || (way !== '..' && !way.startsWith('../'))
}

/** Returns the paths that lie in no other path, from short to long. */
function outermost(paths: readonly string[]): string[] {
  const kept: string[] = []
  for (const path of [...new Set(paths)].toSorted((a, b) => a.length - b.length))
    if (!kept.some((each) => isWithin(path, each))) kept.push(path)
  return kept
}

function foldersAbove(path: string): string[] {
  const folder = dirname(path)
  return folder === path ? [] : [...foldersAbove(folder), folder]
}
