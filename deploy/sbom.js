// sbom.js FILE LOCK …: writes the packages of npm that the lock files list as a CycloneDX 1.5 document.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

const [file, ...locks] = process.argv.slice(2)
const prefix = 'node_modules/'

/** npm also lists packages of other platforms, which it did not install. */
const isThere = (lock, path) =>
  basename(lock) !== '.package-lock.json' || existsSync(join(dirname(lock), '..', path))

const components = locks
  .flatMap((lock) => {
    const { packages } = JSON.parse(readFileSync(lock, 'utf8'))
    return Object.entries(packages).filter(([path]) => isThere(lock, path))
  })
  .filter(([path, { link }]) => path.includes(prefix) && link !== true)
  .map(([path, { version, license, integrity }]) => {
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
  })
writeFileSync(
  file,
  `${JSON.stringify({ bomFormat: 'CycloneDX', specVersion: '1.5', version: 1, components }, null, 1)}\n`,
)
