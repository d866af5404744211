import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ProgramConfig } from '../config/config.ts'

const root = fileURLToPath(new URL('../../../../', import.meta.url))
const program = (file: string, path = '/mcp'): ProgramConfig => ({
  command: [process.execPath, file],
  environment: {},
  path,
})

/**
 * The images of the original's documentation and the local programs that stand for them. Samples are part of the
 * repository, not of the published package, so they are offered where they exist.
 */
export function builtinImages(): Record<string, ProgramConfig> {
  const bridge = join(
    dirname(createRequire(import.meta.url).resolve('@mcp-gateway/bridge/package.json')),
    'dist/main.js',
  )
  const images: Record<string, ProgramConfig> = { 'mcp-proxy': program(bridge) }
  const samples = {
    'mcp-example': program(join(root, 'samples/mcp-example/dist/main.js')),
    'weather-tool': program(join(root, 'samples/tool-example/dist/main.js'), '/score'),
  }
  for (const [name, sample] of Object.entries(samples)) {
    if (sample.command[1] !== undefined && existsSync(sample.command[1])) images[name] = sample
  }
  return images
}
