// sbom.js BUNDLED FILE: writes the packages that `npm run bundle` noted as a CycloneDX 1.5
// document.
import { readFileSync, writeFileSync } from 'node:fs'

const [bundled, file] = process.argv.slice(2)
const { packages } = JSON.parse(readFileSync(bundled, 'utf8'))
const prefix = 'node_modules/'
const components = Object.entries(packages).map(([path, { version, license, integrity }]) => {
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
