import type { Audited } from '../audit/audit.ts'
import { developmentOwner } from '../auth/development.ts'
import { DeclaredTarget, dryRun } from '../control/resources/declared-target.ts'
import { followSources, type DeclaredSources } from '../declared/follow.ts'
import type { Composition } from './composition.ts'
import type { Workloads } from './workloads.ts'
import type { Writing } from './writing.ts'

/** Follows the declared files, which write by the rules of the REST API. */
export function openDeclared(
  { config, log, parts }: Composition,
  { reconciler, runtime }: Workloads,
  writing: Writing,
  audited: Audited,
): DeclaredSources {
  const development = config.identity.mode === 'development'
  return parts.use(
    followSources({
      sources: config.declared,
      // With development identity, the files belong to the caller without identity headers.
      ownerOf: (source) => (development ? developmentOwner : { id: source, issuer: 'declared' }),
      targets: (source, principal) => {
        const options = { ...writing, source, principal, audited }
        return { target: new DeclaredTarget(options), trial: dryRun(options) }
      },
      reconciler,
      runtime,
      log,
      now: writing.now,
    }),
  )
}
