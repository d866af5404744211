import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { ConfigSchema } from './config.ts'
import { privateFiles, privateFolders } from './private-files.ts'

test('files that may hold secrets are the configuration and all that it names', () => {
  const config = ConfigSchema.parse({
    dataDir: '/nowhere',
    store: {
      url: 'postgres://gateway@/gateway?host=/srv/socket',
      passwordFile: '/etc/gateway/password',
    },
    secrets: { files: { tokens: { path: '/etc/gateway/tokens' } } },
    audit: { sinks: [{ type: 'file', path: '/var/log/gateway/audit.log' }] },
    runtime: { kubernetes: { kubeconfig: '/etc/gateway/kubeconfig' } },
  })
  const environment = {
    HOME: '/home/gateway',
    MCPGW_CONFIG: '/etc/gateway/config.yaml',
    KUBECONFIG: '/srv/kube/one:/srv/kube/other',
    PGPASSFILE: '/etc/gateway/pgpass',
  }

  expect(privateFiles(config, environment).toSorted()).toEqual([
    '/etc/gateway/config.yaml',
    '/etc/gateway/kubeconfig',
    '/etc/gateway/password',
    '/etc/gateway/pgpass',
    '/etc/gateway/tokens',
    '/home/gateway/.kube/config',
    '/home/gateway/.pgpass',
    '/srv/kube/one',
    '/srv/kube/other',
    '/srv/socket',
    '/var/log/gateway/audit.log',
    '/var/run/secrets/kubernetes.io/serviceaccount',
  ])
  expect(privateFolders(config)).toEqual(['/var/log/gateway'])
})

test('the configuration in the working folder counts where no other is named', () => {
  expect(privateFiles(ConfigSchema.parse({ dataDir: '/nowhere' }), {})).toContain(
    join(process.cwd(), 'mcp-gateway.yaml'),
  )
})

test('the key of a connection to the database counts, and its authority does not', () => {
  const files = 'sslcert=/srv/client.crt&sslkey=/srv/client.key&sslrootcert=/srv/ca.crt'
  const url = `postgres://gateway@db/gateway?sslmode=verify-full&${files}`
  const found = privateFiles(ConfigSchema.parse({ dataDir: '/nowhere', store: { url } }), {})

  expect(found).toEqual(expect.arrayContaining(['/srv/client.crt', '/srv/client.key']))
  expect(found).not.toContain('/srv/ca.crt')
})

describe('files that others name', () => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'mcpgw-private-')))
  afterAll(() => rmSync(folder, { recursive: true }))
  const make = (path: string, text = ''): string => {
    const file = join(folder, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text)
    return file
  }
  const found = (settings: object, environment: Readonly<Record<string, string>> = {}): string[] =>
    privateFiles(ConfigSchema.parse({ dataDir: join(folder, 'data'), ...settings }), environment)

  const kubeconfig = `
    users:
      - name: by-certificate
        user: { client-certificate: keys/client.crt, client-key: keys/client.key }
      - { name: by-token, user: { tokenFile: /srv/token } }
      - user: { auth-provider: { name: any, config: { tokenFile: /srv/other-token } } }
      - { name: nobody }
    clusters: [{ name: here, cluster: { certificate-authority: keys/ca.crt } }]`

  test.each(['the setting', 'KUBECONFIG', 'the home'])(
    'the keys and tokens of a kubeconfig count, which %s names',
    (by) => {
      const path = make('home/.kube/config', kubeconfig)
      const settings = by === 'the setting' ? { runtime: { kubernetes: { kubeconfig: path } } } : {}
      const files = found(settings, {
        ...(by === 'KUBECONFIG' && { KUBECONFIG: `/none:${path}` }),
        ...(by === 'the home' && { HOME: join(folder, 'home') }),
      })

      for (const file of ['client.crt', 'client.key'])
        expect(files).toContain(join(folder, 'home/.kube/keys', file))
      expect(files).toEqual(expect.arrayContaining(['/srv/token', '/srv/other-token']))
      expect(files.join()).not.toContain('ca.crt')
    },
  )

  test.each(['- just\n- a list', '{', 'users: 7', 'users: [7, {user: 7}, {user: {tokenFile: 7}}]'])(
    'a kubeconfig that reads %j names none',
    (text) => {
      const path = make('odd', text)
      expect(found({}, { KUBECONFIG: path }).filter((file) => file.startsWith(folder))).toEqual([
        path,
      ])
    },
  )

  test('a file counts to which a link in a folder of secrets leads', () => {
    const targets = ['token', 'database', 'shared/team.yaml'].map((name) => make(`far/${name}`))
    make('secrets/plain')
    make('declared/sub/one.yaml')
    make('data/plain')
    symlinkSync(join(folder, 'far/token'), join(folder, 'secrets/token'))
    symlinkSync(join(folder, 'far/shared'), join(folder, 'declared/sub/shared'))
    symlinkSync(join(folder, 'declared'), join(folder, 'far/shared/circle'))
    symlinkSync(join(folder, 'far/database'), join(folder, 'data/gateway.db'))
    symlinkSync(join(folder, 'none'), join(folder, 'secrets/broken'))
    const files = found({
      secrets: { files: { all: { path: join(folder, 'secrets') } } },
      declared: { team: { folder: join(folder, 'declared') } },
    })

    expect(files).toEqual(expect.arrayContaining([...targets, `${targets[1]}-wal`]))
    expect(files.join()).not.toContain('plain')
  })
})
