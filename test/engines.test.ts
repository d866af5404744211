import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const read = (name: string): string =>
  readFileSync(fileURLToPath(new URL(`../${name}`, import.meta.url)), 'utf8')

interface Package {
  readonly dev?: boolean
  readonly engines?: { readonly node?: string }
}

const { packages } = JSON.parse(read('package-lock.json')) as {
  readonly packages: Readonly<Record<string, Package>>
}

/** True if a package accepts only Node.js versions above 20. */
function refusesFloor({ engines }: Package): boolean {
  const majors = [...(engines?.node ?? '').matchAll(/(\d+)(?:\.[\dx]+)*/g)].map(([, major]) =>
    Number(major),
  )
  return majors.length > 0 && majors.every((major) => major > 20)
}

test('only packages of tests want a newer Node.js, and CONTRIBUTING.md names each', () => {
  const warned = Object.entries(packages).filter(([, each]) => refusesFloor(each))
  const names = warned.map(([path]) => path.slice(path.lastIndexOf('node_modules/') + 13))

  expect(warned.filter(([, { dev }]) => dev !== true)).toEqual([])
  expect(names.filter((name) => !read('CONTRIBUTING.md').includes(`\`${name}\``))).toEqual([])
})
