// Writes openapi/mcp-gateway.openapi.json from the built contract; with --check, fails when the
// file is stale.
import { readFileSync } from 'node:fs'
import { openApiDocument } from '../packages/contract/dist/index.js'
import { writeGenerated } from './generated.js'

const { version } = JSON.parse(
  readFileSync(new URL('../packages/contract/package.json', import.meta.url), 'utf8'),
)
const text = `${JSON.stringify(openApiDocument(version), null, 2)}\n`

writeGenerated('openapi/mcp-gateway.openapi.json', text, 'npm run openapi')
