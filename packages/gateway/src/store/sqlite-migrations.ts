/**
 * Each entry raises the schema of the SQLite file by one version. Released entries never change
 * what they do.
 */
export const migrations: readonly string[] = [
  `CREATE TABLE resource (
     name TEXT PRIMARY KEY,
     kind TEXT NOT NULL,
     uid TEXT NOT NULL,
     version INTEGER NOT NULL,
     body TEXT NOT NULL,
     change INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX resource_change ON resource (change);
   CREATE TABLE deletion (
     change INTEGER PRIMARY KEY,
     name TEXT NOT NULL,
     kind TEXT NOT NULL
   ) STRICT;
   CREATE TABLE counter (id INTEGER PRIMARY KEY CHECK (id = 1), change INTEGER NOT NULL) STRICT;
   INSERT INTO counter VALUES (1, 0);`,

  // MCP tool names are unique, even when two processes create tools at once.
  `CREATE UNIQUE INDEX resource_tool ON resource
     (json_extract(body, '$.spec.toolDefinition.tool.name')) WHERE kind = 'tool';`,

  // A damaged text has no owner, and can still be replaced.
  `CREATE INDEX resource_owner ON resource
     (json_extract(body, '$.owner.id'), json_extract(body, '$.owner.issuer'))
     WHERE json_valid(body);`,

  `CREATE TABLE api_key (
     name TEXT PRIMARY KEY,
     kind TEXT NOT NULL,
     uid TEXT NOT NULL,
     version INTEGER NOT NULL,
     body TEXT NOT NULL,
     change INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX api_key_change ON api_key (change);
   CREATE INDEX api_key_owner ON api_key
     (json_extract(body, '$.owner.id'), json_extract(body, '$.owner.issuer'))
     WHERE json_valid(body);`,

  // Quotas count in an index, so that an owner of many records writes as fast as an owner of few. A
  // damaged text has no owner.
  `ALTER TABLE resource ADD COLUMN owner TEXT;
   ALTER TABLE resource ADD COLUMN replicas INTEGER;
   UPDATE resource SET
     owner = CASE WHEN json_valid(body) THEN
       json_array(json_extract(body, '$.owner.id'), json_extract(body, '$.owner.issuer')) END,
     replicas = CASE WHEN json_valid(body) THEN json_extract(body, '$.spec.replicaCount') END;
   DROP INDEX resource_owner;
   CREATE INDEX resource_owner ON resource (owner, kind, replicas);
   CREATE TRIGGER resource_created AFTER INSERT ON resource BEGIN
     UPDATE resource SET
       owner = CASE WHEN json_valid(body) THEN
         json_array(json_extract(body, '$.owner.id'), json_extract(body, '$.owner.issuer')) END,
       replicas = CASE WHEN json_valid(body) THEN json_extract(body, '$.spec.replicaCount') END
       WHERE name = NEW.name;
   END;
   CREATE TRIGGER resource_replaced AFTER UPDATE OF body ON resource BEGIN
     UPDATE resource SET
       owner = CASE WHEN json_valid(body) THEN
         json_array(json_extract(body, '$.owner.id'), json_extract(body, '$.owner.issuer')) END,
       replicas = CASE WHEN json_valid(body) THEN json_extract(body, '$.spec.replicaCount') END
       WHERE name = NEW.name;
   END;`,

  `CREATE TABLE secret (
     name TEXT PRIMARY KEY,
     kind TEXT NOT NULL,
     uid TEXT NOT NULL,
     version INTEGER NOT NULL,
     body TEXT NOT NULL,
     change INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX secret_change ON secret (change);
   CREATE INDEX secret_owner ON secret
     (json_extract(body, '$.owner.id'), json_extract(body, '$.owner.issuer'))
     WHERE json_valid(body);`,

  // Rows of some kilobytes made the WITHOUT ROWID tree deep: each name on a lookup's way had pages
  // of its own. Holdings get a table, because counting took as long as there were things to count.
  `DROP TRIGGER resource_created;
   DROP TRIGGER resource_replaced;
   ALTER TABLE resource RENAME TO resource_before;
   CREATE TABLE resource (
     name TEXT NOT NULL UNIQUE,
     kind TEXT NOT NULL,
     uid TEXT NOT NULL,
     version INTEGER NOT NULL,
     body TEXT NOT NULL,
     change INTEGER NOT NULL,
     owner TEXT AS (CASE WHEN json_valid(body) THEN
       json_array(json_extract(body, '$.owner.id'), json_extract(body, '$.owner.issuer')) END),
     replicas INTEGER AS (CASE WHEN json_valid(body) THEN
       coalesce(json_extract(body, '$.spec.replicaCount'), 0) END)
   ) STRICT;
   INSERT INTO resource (name, kind, uid, version, body, change)
     SELECT name, kind, uid, version, body, change FROM resource_before ORDER BY name;
   DROP TABLE resource_before;
   CREATE INDEX resource_change ON resource (change);
   CREATE UNIQUE INDEX resource_tool ON resource
     (json_extract(body, '$.spec.toolDefinition.tool.name')) WHERE kind = 'tool';
   CREATE TABLE holding (
     owner TEXT PRIMARY KEY,
     adapters INTEGER NOT NULL,
     tools INTEGER NOT NULL,
     replicas INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;
   INSERT INTO holding
     SELECT owner, sum(kind = 'adapter'), sum(kind = 'tool'), sum(replicas)
     FROM resource WHERE owner IS NOT NULL GROUP BY owner;
   CREATE TRIGGER resource_created AFTER INSERT ON resource WHEN NEW.owner IS NOT NULL BEGIN
     INSERT INTO holding
       VALUES (NEW.owner, NEW.kind = 'adapter', NEW.kind = 'tool', NEW.replicas)
       ON CONFLICT (owner) DO UPDATE SET
         adapters = adapters + excluded.adapters,
         tools = tools + excluded.tools,
         replicas = replicas + excluded.replicas;
   END;
   CREATE TRIGGER resource_deleted AFTER DELETE ON resource BEGIN
     UPDATE holding SET
       adapters = adapters - (OLD.kind = 'adapter'),
       tools = tools - (OLD.kind = 'tool'),
       replicas = replicas - OLD.replicas
       WHERE owner = OLD.owner;
     DELETE FROM holding WHERE owner = OLD.owner AND adapters = 0 AND tools = 0;
   END;
   CREATE TRIGGER resource_replaced AFTER UPDATE OF body ON resource
     WHEN NEW.owner IS NOT OLD.owner OR NEW.replicas IS NOT OLD.replicas BEGIN
     UPDATE holding SET
       adapters = adapters - (OLD.kind = 'adapter'),
       tools = tools - (OLD.kind = 'tool'),
       replicas = replicas - OLD.replicas
       WHERE owner = OLD.owner;
     DELETE FROM holding WHERE owner = OLD.owner AND adapters = 0 AND tools = 0;
     INSERT INTO holding
       SELECT NEW.owner, NEW.kind = 'adapter', NEW.kind = 'tool', NEW.replicas
       WHERE NEW.owner IS NOT NULL
       ON CONFLICT (owner) DO UPDATE SET
         adapters = adapters + excluded.adapters,
         tools = tools + excluded.tools,
         replicas = replicas + excluded.replicas;
   END;`,

  // Quotas count bytes, too.
  `ALTER TABLE resource ADD COLUMN bytes INTEGER AS (octet_length(body));
   ALTER TABLE holding ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
   INSERT INTO holding (owner, adapters, tools, replicas, bytes)
     SELECT owner, 0, 0, 0, sum(bytes) FROM resource WHERE owner IS NOT NULL GROUP BY owner
     ON CONFLICT (owner) DO UPDATE SET bytes = excluded.bytes;
   DROP TRIGGER resource_created;
   DROP TRIGGER resource_deleted;
   DROP TRIGGER resource_replaced;
   CREATE TRIGGER resource_created AFTER INSERT ON resource WHEN NEW.owner IS NOT NULL BEGIN
     INSERT INTO holding
       VALUES (NEW.owner, NEW.kind = 'adapter', NEW.kind = 'tool', NEW.replicas, NEW.bytes)
       ON CONFLICT (owner) DO UPDATE SET
         adapters = adapters + excluded.adapters,
         tools = tools + excluded.tools,
         replicas = replicas + excluded.replicas,
         bytes = bytes + excluded.bytes;
   END;
   CREATE TRIGGER resource_deleted AFTER DELETE ON resource BEGIN
     UPDATE holding SET
       adapters = adapters - (OLD.kind = 'adapter'),
       tools = tools - (OLD.kind = 'tool'),
       replicas = replicas - OLD.replicas,
       bytes = bytes - OLD.bytes
       WHERE owner = OLD.owner;
     DELETE FROM holding WHERE owner = OLD.owner AND adapters = 0 AND tools = 0;
   END;
   CREATE TRIGGER resource_replaced AFTER UPDATE OF body ON resource
     WHEN NEW.owner IS NOT OLD.owner
       OR NEW.replicas IS NOT OLD.replicas
       OR NEW.bytes IS NOT OLD.bytes BEGIN
     UPDATE holding SET
       adapters = adapters - (OLD.kind = 'adapter'),
       tools = tools - (OLD.kind = 'tool'),
       replicas = replicas - OLD.replicas,
       bytes = bytes - OLD.bytes
       WHERE owner = OLD.owner;
     DELETE FROM holding WHERE owner = OLD.owner AND adapters = 0 AND tools = 0;
     INSERT INTO holding
       SELECT NEW.owner, NEW.kind = 'adapter', NEW.kind = 'tool', NEW.replicas, NEW.bytes
       WHERE NEW.owner IS NOT NULL
       ON CONFLICT (owner) DO UPDATE SET
         adapters = adapters + excluded.adapters,
         tools = tools + excluded.tools,
         replicas = replicas + excluded.replicas,
         bytes = bytes + excluded.bytes;
   END;
   ALTER TABLE secret ADD COLUMN bytes INTEGER AS (octet_length(body));
   ALTER TABLE api_key ADD COLUMN bytes INTEGER AS (octet_length(body));
   CREATE INDEX secret_bytes ON secret (bytes);
   CREATE INDEX api_key_bytes ON api_key (bytes);`,
  `CREATE TABLE server (
     name TEXT NOT NULL UNIQUE,
     kind TEXT NOT NULL,
     uid TEXT NOT NULL,
     version INTEGER NOT NULL,
     body TEXT NOT NULL,
     change INTEGER NOT NULL,
     bytes INTEGER AS (octet_length(body))
   ) STRICT;
   CREATE INDEX server_change ON server (change);
   CREATE INDEX server_owner ON server (json_extract(body, '$.owner.id'),
     json_extract(body, '$.owner.issuer')) WHERE json_valid(body);
   CREATE INDEX server_bytes ON server (bytes);
   CREATE TABLE lists (
     name TEXT NOT NULL UNIQUE,
     kind TEXT NOT NULL,
     uid TEXT NOT NULL,
     version INTEGER NOT NULL,
     body TEXT NOT NULL,
     change INTEGER NOT NULL,
     bytes INTEGER AS (octet_length(body))
   ) STRICT;
   CREATE INDEX lists_change ON lists (change);
   CREATE INDEX lists_owner ON lists (json_extract(body, '$.owner.id'),
     json_extract(body, '$.owner.issuer')) WHERE json_valid(body);
   CREATE INDEX lists_bytes ON lists (bytes);
   CREATE TABLE sessions (
     name TEXT NOT NULL UNIQUE,
     kind TEXT NOT NULL,
     uid TEXT NOT NULL,
     version INTEGER NOT NULL,
     body TEXT NOT NULL,
     change INTEGER NOT NULL,
     bytes INTEGER AS (octet_length(body))
   ) STRICT;
   CREATE INDEX sessions_change ON sessions (change);
   CREATE INDEX sessions_owner ON sessions (json_extract(body, '$.owner.id'),
     json_extract(body, '$.owner.issuer')) WHERE json_valid(body);
   CREATE INDEX sessions_bytes ON sessions (bytes);`,
]
