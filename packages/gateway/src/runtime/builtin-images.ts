import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { ProgramConfig } from '../config/config.ts'

const repository = join(import.meta.dirname, '../../../..')

/**
 * A package holds every program beside this file; in the repository each program has a workspace.
 */
const programs = {
  'mcp-proxy': { packed: 'mcp-bridge.js', built: 'packages/bridge/dist/main.js', path: '/mcp' },
  'mcp-example': {
    packed: 'mcp-example.js',
    built: 'samples/mcp-example/dist/main.js',
    path: '/mcp',
  },
  'weather-tool': {
    packed: 'weather-tool.js',
    built: 'samples/tool-example/dist/main.js',
    path: '/score',
  },
}

/** Maps the image names of the original's documentation to the local programs that replace them. */
export function builtinImages(): Record<string, ProgramConfig> {
  const images: Record<string, ProgramConfig> = {}
  for (const [image, { packed, built, path }] of Object.entries(programs)) {
    const places = [join(import.meta.dirname, packed), join(repository, built)]
    const file = places.find((place) => existsSync(place))
    if (file !== undefined)
      images[image] = { command: [process.execPath, file], environment: {}, path }
  }

  return images
}
