import { open, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { longestSecret } from '@mcp-gateway/contract'
import { holdsOneOf } from '../core/principal.ts'
import { GatewayError } from '../core/errors.ts'
import { decodedText } from './decoded-text.ts'
import type { SecretSource } from './sources.ts'

/**
 * Files that the configuration names, or folders with a file for each key. References reach no
 * other file.
 */
export type SecretFiles = Readonly<
  Record<string, { readonly path: string; readonly requiredRoles: readonly string[] }>
>

/**
 * Reads secrets from files, as mounted volumes and other orchestrators provide them; again at each
 * call.
 */
export function fileSource(files: SecretFiles): SecretSource {
  const byName = new Map(Object.entries(files))
  return {
    async admits(principal, { name }) {
      const file = byName.get(name)
      return file !== undefined && holdsOneOf(principal, file.requiredRoles)
    },
    async read({ name, key }) {
      const file = byName.get(name)
      if (file === undefined)
        return {
          reason: 'SecretMissing',
          message: `The configuration names no file for the secret '${name}' (secrets.files).`,
        }
      // Keys hold no slash and do not begin with a dot, so no key leads out of the folder.
      const what =
        key === undefined
          ? `The file of the secret '${name}'`
          : `The file '${key}' of the secret '${name}'`
      const unreadable = (why: string) =>
        ({ reason: 'SecretUnreadable', message: `${what} ${why}.` }) as const
      let handle: FileHandle | undefined
      try {
        handle = await open(key === undefined ? file.path : join(file.path, key))
        if ((await handle.stat()).isDirectory())
          return unreadable('is a folder: the reference must name one of its files as key')
        const { bytesRead, buffer } = await handle.read({ buffer: Buffer.alloc(longestSecret + 2) })
        // Drop the line break that editors and `echo` append.
        const text = decodedText(buffer.subarray(0, bytesRead))?.replace(/\r?\n$/, '')
        if (text === undefined)
          return unreadable('is no text that a variable of an environment can hold')
        if (Buffer.byteLength(text) > longestSecret)
          return unreadable(`is longer than ${longestSecret} bytes`)
        return { value: text }
      } catch (cause) {
        const { code } = cause as NodeJS.ErrnoException
        if (code === 'ENOENT' || code === 'ENOTDIR')
          return { reason: 'SecretMissing', message: `${what} is not there.` }
        throw new GatewayError('secret_unreadable', {
          detail: `${what} cannot be read now (${code}).`,
          cause,
        })
      } finally {
        await handle?.close()
      }
    },
  }
}
