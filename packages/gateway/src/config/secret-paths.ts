import { readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { parse } from 'yaml'

/** Members of a kubeconfig's user, or of its `auth-provider`, that name files. */
const credentialMembers = ['client-key', 'client-certificate', 'tokenFile'] as const

/**
 * Lists the files of credentials that a kubeconfig names. Lists none if it cannot be read, because
 * the gateway then reads none of them either.
 */
export function credentialFiles(kubeconfig: string): string[] {
  try {
    const { users } = parse(readFileSync(kubeconfig, 'utf8')) as { readonly users?: unknown }
    const entries = Array.isArray(users) ? (users as unknown[]) : []
    return entries.flatMap((entry) => filesOf(member(entry, 'user'), dirname(kubeconfig)))
  } catch {
    return []
  }
}

function filesOf(user: unknown, folder: string): string[] {
  const holders = [user, member(member(user, 'auth-provider'), 'config')]
  return holders.flatMap((holder) =>
    credentialMembers.flatMap((name) => {
      const path = member(holder, name)
      // The client reads a path of `auth-provider` from its working folder.
      return typeof path === 'string' ? [resolve(folder, path), resolve(path)] : []
    }),
  )
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null
    ? (value as Record<string, unknown>)[name]
    : undefined
}

/** Nested folders in which links are looked for. The gateway reads no deeper. */
const deepest = 8

/** Lists the files outside a folder to which links in it lead. */
export function linkedFiles(folder: string): string[] {
  const seen = new Set<string>()
  const found: string[] = []
  const look = (path: string, isOutside: boolean, depth: number): void => {
    const real = realpathSync(path)
    if (seen.has(real) || depth > deepest) return
    seen.add(real)

    if (!statSync(real).isDirectory()) return void (isOutside && found.push(real))
    for (const entry of readdirSync(real, { withFileTypes: true })) {
      const isLink = entry.isSymbolicLink()
      // Most files are plain, and there may be thousands.
      if (!isLink && !isOutside && !entry.isDirectory()) continue
      try {
        look(join(real, entry.name), isOutside || isLink, depth + 1)
      } catch {
        // The gateway cannot read it either.
      }
    }
  }

  try {
    look(folder, false, 0)
  } catch {
    // The folder may be made later.
  }
  return found
}
