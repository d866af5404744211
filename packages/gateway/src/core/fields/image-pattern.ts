import { compileGlob } from '../../lib/glob.ts'

export interface Image {
  readonly name: string
  /** A tag, a digest (`sha256:…`), or a tag with one (`1.0@sha256:…`). */
  readonly version: string
}

/**
 * Compiles `name:tags`, `name:*` (all versions) or `name@sha256:…` (digests). A digest decides what
 * runs, whatever tag stands beside it, so a pattern of some tags never fits a digest.
 */
export function imagePattern(pattern: string): (image: Image) => boolean {
  const [, names = '', separator, versions = '*'] = /^([^:@]*)(?:([:@])(.*))?$/.exec(pattern) ?? []
  const fitsName = compileGlob(names)
  if (separator !== '@' && /^\*+$/.test(versions)) return ({ name }) => fitsName(name)

  const fitsVersion = compileGlob(versions)
  return ({ name, version }) => {
    const digest = digestOf(version)
    if (!fitsName(name)) return false
    return separator === '@'
      ? digest !== undefined && fitsVersion(digest)
      : digest === undefined && fitsVersion(version)
  }
}

function digestOf(version: string): string | undefined {
  const at = version.indexOf('sha256:')
  return at === 0 || version[at - 1] === '@' ? version.slice(at) : undefined
}
