import { HeldSecrets } from '../secrets/held-secrets.ts'
import { IdentitySigner } from '../upstream/identity-signer.ts'
import { createOutgoing } from '../upstream/outgoing.ts'
import type { Composition } from './composition.ts'
import type { PublicAddress } from './public-address.ts'
import type { State } from './state.ts'

export type OutgoingSide = Awaited<ReturnType<typeof openOutgoing>>

/** Opens the identities and credentials that the gateway sends to servers. */
export async function openOutgoing(
  { parts, now }: Composition,
  { store, secretSources, keys, followFailed }: State,
  address: PublicAddress,
) {
  const signer = new IdentitySigner({ keys, issuer: () => address.origin, now })
  const held = parts.use(
    await HeldSecrets.open({
      store,
      files: secretSources.file,
      cluster: secretSources.kubernetes,
      refreshMs: 5000,
      followFailed,
    }),
  )
  return { signer, held, outgoing: createOutgoing(signer, (reference) => held.find(reference)) }
}
