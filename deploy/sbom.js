// sbom.js FILE BUNDLED [FOLDER]: lists the packages of a bundle, and those in a folder, in CycloneDX 1.5.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const [file, bundled, folder] = process.argv.slice(2)
const prefix = 'node_modules/'
const packagesOf = (lock) => Object.entries(JSON.parse(readFileSync(lock, 'utf8')).packages)

const beside =
  folder === undefined
    ? []
    : packagesOf('package-lock.json').filter(
        ([path, { link }]) =>
          path.startsWith(prefix) &&
          link !== true &&
          existsSync(join(folder, path.slice(prefix.length))),
      )
const components = [...packagesOf(bundled), ...beside].map(
  ([path, { version, license, integrity }]) => {
    const name = path.slice(path.lastIndexOf(prefix) + prefix.length)
    const [algorithm, digest] = integrity?.split('-') ?? []
    return {
      type: 'library',
      name,
      version,
      purl: `pkg:npm/${name.replace('@', '%40')}@${version}`,
      ...(license && { licenses: [{ expression: license }] }),
      ...(algorithm === 'sha512' && {
        hashes: [{ alg: 'SHA-512', content: Buffer.from(digest, 'base64').toString('hex') }],
      }),
    }
  },
)
writeFileSync(
  file,
  `${JSON.stringify({ bomFormat: 'CycloneDX', specVersion: '1.5', version: 1, components }, null, 1)}\n`,
)
