// Writes openapi/mcp-gateway.openapi.json from the built contract; with --check, fails when the file is stale.
import { readFileSync, writeFileSync } from 'node:fs'
import { openApiDocument } from '../packages/contract/dist/index.js'

const file = new URL('../openapi/mcp-gateway.openapi.json', import.meta.url)
const { version } = JSON.parse(
  readFileSync(new URL('../packages/contract/package.json', import.meta.url), 'utf8'),
)
const text = `${JSON.stringify(openApiDocument(version), null, 2)}\n`

if (!process.argv.includes('--check')) writeFileSync(file, text)
else if (readFileSync(file, 'utf8') !== text) {
  console.error('openapi/mcp-gateway.openapi.json is stale: run `npm run openapi` and commit it.')
  process.exitCode = 1
}
