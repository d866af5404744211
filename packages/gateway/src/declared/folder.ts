import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { DeclaredFile } from '@mcp-gateway/declared'

/** The files of a folder at one time. */
export interface FolderContent {
  readonly files: readonly DeclaredFile[]
  /** Changes with the names or the text of files. */
  readonly revision: string
}

/** Files that a folder may hold, and their bytes together: the gateway reads them all into memory. */
const mostFiles = 5000
const mostBytes = 64 * 1024 * 1024

/** Bytes of one file, which is read without a pause. */
const longestFile = 1024 * 1024

/** Levels of folders below the folder. */
const deepest = 8

/**
 * Reads all YAML and JSON files of a folder, in the order of their names. Names that begin with a
 * dot are left out: a mounted ConfigMap keeps its versions in such folders.
 * @throws Error when something cannot be read
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
    // Links are followed: the files of a mounted ConfigMap are links.
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
