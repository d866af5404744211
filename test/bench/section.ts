import { existsSync, readFileSync } from 'node:fs'

/** Where the figures of the runtime on a cluster stand in the page, which another run measures than the rest. */
export const kubernetesHeading = '## Kubernetes\n'

/** Where figures of `npm run bench:against` stand. */
export const againstHeading = '## Beside an earlier version\n'

/** The section of a page that has a heading, up to the next of its rank; empty when there is none. */
export function sectionOf(file: string, heading: string): string {
  const page = existsSync(file) ? readFileSync(file, 'utf8') : ''
  const from = page.indexOf(heading)
  const to = page.indexOf('\n## ', from + heading.length)
  return from === -1 ? '' : page.slice(from, to === -1 ? undefined : to + 1)
}
