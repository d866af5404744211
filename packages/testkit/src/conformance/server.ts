import { createServer, type IncomingMessage } from 'node:http'
import { PassThrough } from 'node:stream'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { localhostHostValidation, localhostOriginValidation, toNodeHandler } from '@modelcontextprotocol/node'
import { legacyHttp, serveLegacyStdio } from './legacy.ts'
import { modernHttp, serveModernStdio } from './modern.ts'

/**
 * The conformance fixture as a program: `--era legacy|modern|dual --transport http|stdio`. HTTP is at `/mcp` on HOST and PORT;
 * `--trusting` leaves out the check of Host and Origin.
 */
const { values } = parseArgs({
  options: {
    era: { type: 'string', default: 'dual' },
    transport: { type: 'string', default: 'http' },
    trusting: { type: 'boolean', default: false },
  },
})
const { era } = values

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

function serveHttp(): void {
  const legacy = legacyHttp()
  const modern = toNodeHandler(modernHttp())
  const hostIsFine = localhostHostValidation()
  const originIsFine = localhostOriginValidation()
  const server = createServer((request, response) => {
    if (!values.trusting && (!hostIsFine(request, response) || !originIsFine(request, response))) return
    const serve = async (): Promise<void> => {
      if (era === 'legacy' || (era === 'dual' && request.method !== 'POST')) return legacy(request, response)
      const text = request.method === 'POST' ? await bodyOf(request) : ''
      const isModern =
        era === 'modern' ||
        text.includes('io.modelcontextprotocol/protocolVersion') ||
        String(request.headers['mcp-protocol-version']).startsWith('2026-')
      let parsed: unknown
      try {
        parsed = text === '' ? undefined : JSON.parse(text)
      } catch {
        response.writeHead(400, { 'content-type': 'application/json' })
        response.end('{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}')
        return
      }
      if (isModern) await modern(request as Parameters<typeof modern>[0], response, parsed)
      else await legacy(request, response, parsed)
    }
    serve().catch((error: unknown) => {
      console.error(error)
      response.destroy()
    })
  })
  server.listen(Number(process.env['PORT'] ?? 3000), process.env['HOST'] ?? '127.0.0.1')
}

/** Which era a connection on stdio has, its first message says. */
function serveDualStdio(): void {
  const input = new PassThrough()
  let begun = false
  createInterface({ input: process.stdin }).on('line', (line) => {
    if (!begun) {
      begun = true
      if (line.includes('io.modelcontextprotocol/protocolVersion')) serveModernStdio(input)
      else void serveLegacyStdio(input)
    }
    input.write(`${line}\n`)
  })
  process.stdin.on('end', () => input.end())
}

if (values.transport === 'http') serveHttp()
else if (era === 'legacy') void serveLegacyStdio(process.stdin)
else if (era === 'modern') serveModernStdio(process.stdin)
else serveDualStdio()
process.on('SIGTERM', () => process.exit(0))
