import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ConfigSchema } from './config.ts'
import { privateFiles, privateFolders } from './private-files.ts'

test('files that may hold secrets are all that a configuration names, and the configuration', () => {
  const config = ConfigSchema.parse({
    store: { url: 'postgres://gateway@db/gateway', passwordFile: '/etc/gateway/password' },
    secrets: { files: { tokens: { path: '/etc/gateway/tokens' } } },
    audit: { sinks: [{ type: 'file', path: '/var/log/gateway/audit.log' }] },
    runtime: { kubernetes: { kubeconfig: '/etc/gateway/kubeconfig' } },
  })
  const environment = {
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
    '/srv/kube/one',
    '/srv/kube/other',
    '/var/log/gateway/audit.log',
  ])
  expect(privateFolders(config)).toEqual(['/var/log/gateway'])
})

test('the configuration in the working folder counts where no other is named', () => {
  expect(privateFiles(ConfigSchema.parse({}), {})).toEqual([
    join(process.cwd(), 'mcp-gateway.yaml'),
  ])
})
