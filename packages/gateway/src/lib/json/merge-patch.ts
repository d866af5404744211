import { isTable } from './table-of.ts'

/** JSON merge patch (RFC 7396 section 2). Does not change its inputs. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isTable(patch)) return patch
  const result: Record<string, unknown> = isTable(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    // Define, not assign: a key named __proto__ is then an ordinary key.
    if (value === null) delete result[key]
    else
      Object.defineProperty(result, key, {
        value: mergePatch(Object.hasOwn(result, key) ? result[key] : undefined, value),
        enumerable: true,
        writable: true,
        configurable: true,
      })
  }
  return result
}
