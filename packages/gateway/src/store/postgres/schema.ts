import { GatewayError } from '../../core/errors.ts'
import { sqlStateOf } from './errors.ts'
import type { Run } from './connections.ts'

/** Each entry raises the schema `s` by one version; released entries are never edited. */
const migrations: readonly ((s: string) => string)[] = [
  // Records are `text`, because `jsonb` cannot hold \u0000. Names and compared columns are ordered
  // by code point.
  (s) => `
   CREATE TABLE ${s}.head (
     one boolean PRIMARY KEY DEFAULT true CHECK (one),
     version integer NOT NULL,
     seq bigint NOT NULL,
     mark uuid NOT NULL
   );
   CREATE TABLE ${s}.change (
     seq bigint PRIMARY KEY,
     mark uuid NOT NULL,
     collection text NOT NULL,
     name text COLLATE "C" NOT NULL,
     kind text NOT NULL
   );
   CREATE TABLE ${s}.record (
     collection text COLLATE "C" NOT NULL,
     name text COLLATE "C" NOT NULL,
     kind text NOT NULL,
     uid text NOT NULL,
     version bigint NOT NULL,
     owner text COLLATE "C" NOT NULL,
     replicas integer NOT NULL,
     tool_name text COLLATE "C" UNIQUE,
     body text NOT NULL,
     PRIMARY KEY (collection, name)
   );
   CREATE INDEX record_owner ON ${s}.record (owner, collection, kind, replicas);
   INSERT INTO ${s}.head (version, seq, mark) VALUES (0, 0, gen_random_uuid());
   INSERT INTO ${s}.change SELECT seq, mark, '', '', '' FROM ${s}.head;`,

  // Quotas count bytes, too.
  (s) => `
   ALTER TABLE ${s}.record
     ADD COLUMN bytes integer NOT NULL GENERATED ALWAYS AS (octet_length(body)) STORED;
   DROP INDEX ${s}.record_owner;
   CREATE INDEX record_owner ON ${s}.record (owner, collection, kind, replicas, bytes);
   CREATE INDEX record_bytes ON ${s}.record (collection, bytes);`,
]

async function versionOf(run: Run, schema: string): Promise<number> {
  try {
    const [row] = await run(`SELECT version FROM "${schema}".head`)
    return Number(row?.['version'] ?? 0)
  } catch (error) {
    // The schema or the table does not exist.
    if (['3F000', '42P01'].includes(sqlStateOf(error) ?? '')) return 0
    throw error
  }
}

/**
 * Brings the schema to this gateway's version. If several gateways start at once, one migrates and
 * the others wait. Nothing is written without a change, so a role without schema rights suffices.
 * @throws GatewayError `store_unavailable` when the schema is of a newer version
 */
export async function migrate(run: Run, schema: string): Promise<void> {
  await refuseUnfit(run)
  const version = await versionOf(run, schema)
  refuseNewer(version, schema)
  if (version === migrations.length) return

  await run('BEGIN')
  try {
    await run("SELECT pg_advisory_xact_lock(hashtextextended('mcp-gateway schema ' || $1, 0))", [
      schema,
    ])

    const [present] = await run('SELECT to_regnamespace($1) IS NOT NULL AS there', [`"${schema}"`])
    // `IF NOT EXISTS` needs the right to create schemas even when the schema exists.
    if (present?.['there'] !== true) await run(`CREATE SCHEMA "${schema}"`)
    const [table] = await run('SELECT to_regclass($1) IS NOT NULL AS there', [`"${schema}".head`])
    const reached = table?.['there'] === true ? await versionOf(run, schema) : 0

    refuseNewer(reached, schema)
    if (reached < migrations.length) {
      for (const step of migrations.slice(reached)) await run(step(`"${schema}"`))
      await run(`UPDATE "${schema}".head SET version = ${migrations.length}`)
    }

    await run('COMMIT')
  } catch (error) {
    await run('ROLLBACK').catch(() => undefined)
    throw error
  }
}

/** The oldest version that PostgreSQL still maintains. */
const oldestServer = 14

async function refuseUnfit(run: Run): Promise<void> {
  const [server] = await run(
    "SELECT current_setting('server_version_num')::integer AS version, " +
      "current_setting('server_encoding') AS encoding",
  )
  const { version, encoding } = server as { version: number; encoding: string }
  if (version < oldestServer * 10_000)
    throw new GatewayError('store_unavailable', {
      detail:
        `PostgreSQL ${oldestServer} or newer is needed, ` +
        `and the server is ${Math.floor(version / 10_000)}.`,
    })
  if (encoding !== 'UTF8')
    throw new GatewayError('store_unavailable', {
      detail:
        `The database has the encoding ${encoding}, which cannot hold every text. ` +
        `Make it with ENCODING 'UTF8' (and TEMPLATE template0).`,
    })
}

function refuseNewer(version: number, schema: string): void {
  if (version <= migrations.length) return
  throw new GatewayError('store_unavailable', {
    detail:
      `The schema '${schema}' of the database was written by a newer version of ` +
      'the gateway ' +
      `(schema version ${version}, known ${migrations.length}). Start that version, ` +
      'or restore a backup from before.',
  })
}
