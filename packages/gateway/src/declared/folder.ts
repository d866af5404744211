import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { DeclaredFile } from '@mcp-gateway/declared'

/** A snapshot of a folder's files. */
export interface FolderContent {
  readonly files: readonly DeclaredFile[]
  /** Changes with every change of a file's name or text. */
  readonly revision: string
}

/** Limits on the number and total bytes of files, because the gateway reads all into memory. */
const mostFiles = 5000
const mostBytes = 64 * 1024 * 1024

/** Limit on the bytes of one file, because the gateway reads a file without a pause. */
const longestFile = 1024 * 1024

/** Limit on nested folders. */
const deepest = 8

/**
 * Reads all YAML and JSON files of a folder, sorted by name. Skips names that begin with a dot,
 * where a mounted ConfigMap keeps its versions.
 * @throws Error if something cannot be read, or exceeds a limit
 */
export async function readFolder(folder: string): Promise<FolderContent> {
  const paths = await pathsIn(folder, '', 0).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' && !existsSync(folder))
      throw new Error(`The folder '${resolve(folder)}' does not exist.`, { cause: error })
    throw error
  })
  if (paths.length > mostFiles)
    throw new Error(`The folder holds more than ${mostFiles} files. Split it into several sources.`)

  const files: DeclaredFile[] = []
  const hash = createHash('sha256')
  let bytes = 0

  for (const path of paths) {
    const text = await readFile(join(folder, path), 'utf8')
    bytes += Buffer.byteLength(text)
    if (bytes > mostBytes) throw new Error(`The files have more than ${mostBytes} bytes together.`)

    hash.update(JSON.stringify([path, text]))
    files.push({ path, text })
  }

  return { files, revision: hash.digest('hex').slice(0, 12) }
}

async function pathsIn(folder: string, below: string, depth: number): Promise<string[]> {
  const names = await readdir(join(folder, below))
  const paths: string[] = []
  for (const name of names.toSorted()) {
    if (name.startsWith('.')) continue

    const path = below === '' ? name : `${below}/${name}`
    // `stat` follows links, because the files of a mounted ConfigMap are links.
    const found = await stat(join(folder, path))
    if (found.isDirectory() && depth < deepest)
      paths.push(...(await pathsIn(folder, path, depth + 1)))
    else if (found.isFile() && /\.(ya?ml|json)$/i.test(name)) {
      if (found.size > longestFile)
        throw new Error(`${path} has more than ${longestFile} bytes. Split it into several files.`)
      paths.push(path)
    }
  }
  return paths
}
