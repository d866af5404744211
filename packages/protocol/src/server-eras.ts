import { errorCode } from './message.ts'
import { readArray, readObject, readString } from './json/raw-object.ts'
import { modernVersion } from './versions.ts'

/** The eras that a server speaks. */
export type ServerEras = 'legacy' | 'modern' | 'dual'

/**
 * The era of a server, read from its answer to `server/discover`. `result` and `error` are raw
 * JSON.
 */
export function eraOf(result: string | undefined, error: string | undefined): 'legacy' | 'modern' {
  const versions = (raw: string | undefined): string[] =>
    readArray(raw)?.flatMap((each) => readString(each) ?? []) ?? []
  if (result !== undefined)
    return versions(readObject(result)?.get('supportedVersions')).includes(modernVersion)
      ? 'modern'
      : 'legacy'
  const failure = readObject(error)
  const code = Number(failure?.get('code'))
  if (code === errorCode.headerMismatch || code === errorCode.missingCapability) return 'modern'
  const supported = versions(readObject(failure?.get('data'))?.get('supported'))
  return code === errorCode.unsupportedVersion && supported.includes(modernVersion)
    ? 'modern'
    : 'legacy'
}
