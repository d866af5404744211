import type { Config } from '../config/config.ts'
import { openSealedStore } from '../secrets/sealed-store.ts'
import { copyStore } from '../store/copy.ts'
import { openStore, openStoreFile } from '../store/open.ts'
import { say, usage } from './say.ts'

/** For an owner of the schema, if the gateway itself runs as a role with fewer rights. */
export async function migrateStore({ dataDir, store: settings }: Config): Promise<number> {
  const store = await openStore({ dataDir, settings })
  await store[Symbol.asyncDispose]()
  return say('The schema of the store is up to date.\n')
}

/** Exit code 1: some records were left out, because their names are taken. */
export async function copyRecords(
  { dataDir, store: settings }: Config,
  { from, to }: { from?: string | undefined; to?: string | undefined },
): Promise<number> {
  const file = from ?? to
  if (file === undefined || (from !== undefined && to !== undefined))
    return say(`store copy takes --from FILE or --to FILE.\n\n${usage}`, 2)

  await using other = await openStoreFile(file, from !== undefined)
  await using configured = await openStore({ dataDir, settings })
  const { copied, present, conflicts } = await (from === undefined
    ? copyStore(configured, other)
    : copyStore(other, configured))
  const told =
    `${copied} ${copied === 1 ? 'record was' : 'records were'} copied, ` +
    `${present} ${present === 1 ? 'was' : 'were'} there already.\n`

  if (conflicts.length === 0) return say(told)
  return say(
    `${told}These names are taken by others, and were left out: ${conflicts.join(', ')}\n`,
    1,
  )
}

/** Exit code 1: some resources cannot be decrypted, and were left as they are. */
export async function rotateSecrets({
  dataDir,
  store: settings,
  secrets,
}: Config): Promise<number> {
  await using store = await openSealedStore({ dataDir, settings, keys: secrets.keys })
  const { renewed, unreadable } = await store.renewSeals()
  const told =
    `${renewed} ${renewed === 1 ? 'resource was' : 'resources were'} sealed with the ` +
    `first key.\n`
  if (unreadable.length === 0) return say(told)
  return say(
    `${told}These cannot be decrypted with any of the keys, and were left as they are: ` +
      `${unreadable.join(', ')}\n`,
    1,
  )
}
