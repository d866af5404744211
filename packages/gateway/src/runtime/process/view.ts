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
  // Cover only visible secrets: in a hidden folder, an empty folder would reveal the secret's name.
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
  // If two layers have the same path, the later layer wins.
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

/** One option of `bwrap` with its arguments. */
type Step = readonly string[]

/** Tells whether a view shows a folder and new files in it. */
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
