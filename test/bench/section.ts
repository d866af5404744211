import { existsSync, readFileSync } from 'node:fs'

/** Heading of the figures about a cluster. A separate run measures them. */
export const kubernetesHeading = '## Kubernetes\n'

/** Heading of the figures of `npm run bench:against`. */
export const againstHeading = '## Beside an earlier version\n'

/**
 * Gives the section of a page under a heading, up to the next heading of its rank; empty if there
 * is none.
 */
export function sectionOf(file: string, heading: string): string {
  const page = existsSync(file) ? readFileSync(file, 'utf8') : ''
  const from = page.indexOf(heading)
  const to = page.indexOf('\n## ', from + heading.length)
  return from === -1 ? '' : page.slice(from, to === -1 ? undefined : to + 1)
}
