import { dirname, relative } from 'node:path'

/** The files of this machine as a process in `bwrap` sees them. All paths are absolute and real. */
export interface View {
  /** Folders that are empty in the view. */
  readonly hidden: readonly string[]
  /** What can be read although it is in a hidden folder. */
  readonly shown: readonly string[]
  /** The gateway's own files and folders, which stay out of what is shown, too. */
  readonly secret: readonly { readonly path: string; readonly isFolder: boolean }[]
  readonly home: string
  readonly mounts: readonly { readonly path: string; readonly readOnly: boolean }[]
  /** Of each folder that is in memory; undefined where that cannot be told. */
  readonly temporaryBytes?: number | undefined
}

/** Folders in which everybody can write have the usual rights in the view, too. */
const forEverybody = ['/tmp', '/var/tmp', '/dev/shm']

/**
 * The arguments of `bwrap` that make a view. Everything is read-only but the home and what the
 * operator mounts. What comes later lies over what came before, so deeper folders come later: a
 * secret in a mounted folder stays covered, and a mount in a hidden one shows.
 */
export function viewArguments(view: View): string[] {
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
  // An empty folder of such a name would tell that it is there.
  const mounted = mounts.map(({ path }) => path)
  const outer = outermost(secret.map(({ path }) => path))
  const exposed = secret.filter(
    ({ path }, index) =>
      outer.includes(path) &&
      secret.findIndex((each) => each.path === path) === index &&
      (!isHidden(path) || [...visible, ...mounted].some((each) => isWithin(path, each))),
  )
  const parentsOf = (path: string): Step[] =>
    foldersAbove(path)
      .filter(isHidden)
      .map((folder) => ['--perms', '0755', '--dir', folder])
  // Of two for the same path, the later one counts.
  const layers: { readonly path: string; readonly steps: readonly Step[] }[] = [
    ...mounts.map(({ path, readOnly }) => ({
      path,
      steps: [...parentsOf(path), [readOnly ? '--ro-bind' : '--bind', path, path]],
    })),
    ...exposed.map(({ path, isFolder }) => ({
      path,
      steps: [isFolder ? emptied(path) : ['--ro-bind', '/dev/null', path]],
    })),
    { path: home, steps: [...parentsOf(home), ['--bind', home, home]] },
  ]
  const steps: Step[] = [
    ['--ro-bind', '/', '/'],
    ['--dev', '/dev'],
    ['--proc', '/proc'],
    emptied('/dev/shm'),
    ...roots.map(emptied),
    ...visible.flatMap((path) => [...parentsOf(path), ['--ro-bind-try', path, path]]),
    ...layers.toSorted((a, b) => a.path.length - b.path.length).flatMap((layer) => layer.steps),
  ]
  return steps.flat()
}

/** One option of `bwrap` with what belongs to it. */
type Step = readonly string[]

/** Whether a folder, and new files in it, are in a view. */
export function shows({ hidden, shown, secret, mounts }: Omit<View, 'home'>, folder: string) {
  if (secret.some(({ path, isFolder }) => isFolder && isWithin(folder, path))) return false
  const isIn = (paths: readonly string[]): boolean => paths.some((each) => isWithin(folder, each))

  const visible = shown.filter((path) => !hidden.includes(path))
  return !isIn(hidden) || isIn([...visible, ...mounts.map(({ path }) => path)])
}

export function isWithin(path: string, folder: string): boolean {
  const way = relative(folder, path)
  return way === '' || (way !== '..' && !way.startsWith('../'))
}

/** The paths that are in none of the others, from short to long. */
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
