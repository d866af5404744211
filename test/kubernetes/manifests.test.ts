import { execFile, execFileSync } from 'node:child_process'
import { promisify } from 'node:util'
import { fileURLToPath } from 'node:url'
import { parse, parseAllDocuments } from 'yaml'
import { skipNote } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { projectImages } from '../../scripts/images.ts'
import { TestNamespace } from './fixtures/cluster.ts'

const run = promisify(execFile)
const deploy = fileURLToPath(new URL('../../deploy', import.meta.url))
const chart = `${deploy}/helm/mcp-gateway`

interface Manifest {
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly annotations?: object
    labels?: Record<string, string>
  }
  readonly data?: Readonly<Record<string, string>>
  readonly spec?: {
    readonly template?: { readonly metadata: { annotations?: Readonly<Record<string, string>> } }
  }
}

const kustomized = async (): Promise<Manifest[]> =>
  manifestsIn(
    (await run('kubectl', ['kustomize', `${deploy}/kubernetes/overlays/production`])).stdout,
  )
const charted = async (namespace: string, ...words: string[]): Promise<string> =>
  (
    await run('helm', [
      'template',
      'gateway',
      chart,
      '--namespace',
      namespace,
      '--kube-version',
      '1.34',
      ...words,
    ])
  ).stdout

function manifestsIn(text: string): Manifest[] {
  return parseAllDocuments(text)
    .map((document) => document.toJS() as Manifest | null)
    .filter((manifest) => manifest !== null)
}

/** Helm's users expect these labels on every object. kustomize's users do not. */
const chartLabels = [
  'helm.sh/chart',
  'app.kubernetes.io/instance',
  'app.kubernetes.io/managed-by',
  'app.kubernetes.io/version',
]

/**
 * The part that must be equal in both renderings: a changed configuration rolls pods by its name in
 * one, by an annotation in the other.
 */
function comparable(manifests: readonly Manifest[]): Record<string, unknown> {
  const configuration = manifests.find(({ kind }) => kind === 'ConfigMap')?.metadata.name
  const unnamed = (text: string): string => text.replaceAll(`"${configuration}"`, '"mcpgateway"')
  return Object.fromEntries(
    manifests
      .filter(({ kind, metadata }) => kind !== 'Namespace' && !isHook(metadata))
      .map((manifest) => {
        const text = manifest.data?.['mcp-gateway.yaml']
        const whole = JSON.parse(
          unnamed(
            JSON.stringify({
              ...manifest,
              metadata: { ...manifest.metadata, namespace: undefined },
            }),
          ),
        ) as Manifest
        const labels = whole.metadata.labels ?? {}
        for (const label of chartLabels) delete labels[label]
        if (Object.keys(labels).length === 0) delete whole.metadata.labels
        const pod = whole.spec?.template?.metadata
        delete pod?.annotations
        const key = `${whole.kind} ${whole.kind === 'ConfigMap' ? '' : whole.metadata.name}`
        return [key, text === undefined ? whole : (parse(text) as unknown)]
      }),
  )
}

/** Only `helm test` applies these. */
function isHook({ annotations }: Manifest['metadata']): boolean {
  return 'helm.sh/hook' in (annotations ?? {})
}

let namespace: TestNamespace
beforeAll(async () => {
  namespace = await TestNamespace.open()
})
afterAll(() => namespace[Symbol.asyncDispose]())

/** Gives the output of kubectl about manifests. */
async function told(manifests: string, ...words: string[]): Promise<string> {
  const kubectl = execFile('kubectl', [...words, '--namespace', namespace.name, '-f', '-'])
  let said = ''
  for (const stream of [kubectl.stdout, kubectl.stderr])
    stream?.on('data', (text: string) => (said += text))
  kubectl.stdin?.end(manifests)
  await new Promise((resolve) => kubectl.once('close', resolve))
  return said
}

/** Gives the API server's judgement of manifests that it does not store. */
const judged = (manifests: string): Promise<string> => told(manifests, 'apply', '--dry-run=server')

const helmless = ((): boolean => {
  try {
    execFileSync('helm', ['version'], { stdio: 'ignore' })
    return false
  } catch {
    return true
  }
})()

const helmNote = skipNote(helmless ? 'needs helm' : undefined)

// Helm: `GOBIN=… go install helm.sh/helm/v3/cmd/helm@v3.19.2` where there is no package.
describe.skipIf(helmless)(`the Helm chart${helmNote}`, () => {
  test('the chart renders the production overlay', async () => {
    expect(comparable(manifestsIn(await charted('adapter')))).toEqual(
      comparable(await kustomized()),
    )
  })

  test('the API server accepts the chart with all its options', async () => {
    const more = [
      'ingress.enabled=true,ingress.className=nginx,ingress.tlsSecret=tls,' +
        'image.pullSecrets[0].name=registry',
      'networkPolicies.clients[0].namespaceSelector.matchLabels.name=ingress,' +
        'networkPolicies.database[0].ipBlock.cidr=10.0.0.9/32',
      'gateway.tolerations[0].key=edge,toolGateway.nodeSelector.pool=tools,' +
        'keys.create=false,keys.secret=ours',
      'gateway.env[0].name=NODE_OPTIONS,gateway.env[0].value=--max-old-space-size=768',
      'toolGateway.env[0].name=A,toolGateway.env[0].value=b,gateway.podLabels.team=mcp,' +
        'gateway.podAnnotations.a=b',
      'gateway.extraVolumes[0].name=ca,gateway.extraVolumes[0].configMap.name=ca',
      'gateway.extraVolumeMounts[0].name=ca,gateway.extraVolumeMounts[0].mountPath=/etc/ca',
      'serviceAccounts.workload.annotations.azure\\.workload\\.identity/client-id=x',
      `image.digests.gateway=sha256:${'0'.repeat(64)},service.annotations.a=b,` +
        'service.type=NodePort',
    ].flatMap((setting) => ['--set', setting])
    const said = await judged(await charted(namespace.name, ...more))
    expect(
      said.split('\n').filter((line) => line !== '' && !line.endsWith(' created (server dry run)')),
    ).toEqual([])
    expect(said).toContain('ingress.networking.k8s.io/mcpgateway created')
    expect(said).toContain('pod/mcpgateway-test created')
    const bare = await charted(namespace.name, '--set', 'networkPolicies.enabled=false')
    expect(
      manifestsIn(bare).filter(({ kind }) => kind === 'NetworkPolicy' || kind === 'Ingress'),
    ).toEqual([])
  })
})

describe.skipIf(helmless)(`values of the Helm chart${helmNote}`, () => {
  test.each([
    ['a table that does not exist', 'ingres.enabled=true', 'ingres'],
    ['a member that does not exist', 'gateway.minReplica=5', 'minReplica'],
    ['a text in place of a number', 'gateway.minReplicas=abc', 'got string, want integer'],
    ['a setting that does not exist', 'configuration.edge.drainSecond=3', 'drainSecond'],
    ['a digest that is none', 'image.digests.gateway=sha256:01', 'does not match pattern'],
  ])('values with %s are refused before anything is applied', async (_what, value, told) => {
    await expect(charted('adapter', '--set', value)).rejects.toThrow(told)
  })

  test('values name an image by its digest', async () => {
    const digest = `sha256:${'a'.repeat(64)}`
    const text = await charted('adapter', '--set', `image.digests.gateway=${digest}`)

    expect(text).toContain(`image: registry.example.com/mcp-gateway@${digest}`)
    expect(text).not.toContain('registry.example.com/mcp-gateway:')
  })

  test('values let callers in the cluster use the Service of any namespace', async () => {
    const own = ['--set', 'configuration.edge.allowedHosts[0]=mcp.internal']
    const config = manifestsIn(await charted('mcp2', ...own)).find(
      ({ kind }) => kind === 'ConfigMap',
    )

    expect(parse(config?.data?.['mcp-gateway.yaml'] ?? '')).toMatchObject({
      edge: {
        allowedHosts: [
          'mcpgateway-service',
          'mcpgateway-service.mcp2',
          'mcpgateway-service.mcp2.svc',
          'mcp.internal',
        ],
      },
    })
  })

  test('values use accounts, rights and a priority class that exist', async () => {
    const kinds = manifestsIn(
      await charted(
        'adapter',
        '--set',
        'rbac.create=false,priorityClass.create=false,priorityClass.name=high,' +
          'autoscaling.enabled=false',
        '--set',
        'serviceAccounts.gateway.create=false,serviceAccounts.gateway.name=ours,' +
          'podDisruptionBudgets.enabled=false',
      ),
    ).map(({ kind, metadata }) => `${kind} ${metadata.name}`)

    expect(kinds.filter((each) => /Role|PriorityClass|Autoscaler|Budget/.test(each))).toEqual([])
    expect(kinds).not.toContain('ServiceAccount mcpgateway-sa')
    expect(kinds).toContain('ServiceAccount workload-sa')
  })

  test('values mount the files that declare adapters, beside folders of their own', async () => {
    const manifests = manifestsIn(
      await charted(
        'adapter',
        '--set',
        'declared.a\\.yaml=kind: Adapter,configuration.declared.team.folder=/team',
      ),
    )
    const maps = manifests.filter(({ kind }) => kind === 'ConfigMap')
    const configuration = maps.find(({ metadata }) => metadata.name === 'mcpgateway')
    const files = maps.find(({ metadata }) => metadata.name === 'mcpgateway-declared')
    const gateway = manifests.find(
      ({ kind, metadata }) => kind === 'StatefulSet' && metadata.name === 'mcpgateway',
    )

    expect(parse(configuration?.data?.['mcp-gateway.yaml'] ?? '')).toMatchObject({
      declared: { chart: { folder: '/etc/mcp-gateway-declared' }, team: { folder: '/team' } },
    })
    expect(files?.data).toEqual({ 'a.yaml': 'kind: Adapter' })
    expect(gateway?.spec?.template).toMatchObject({
      spec: {
        volumes: expect.arrayContaining([
          { name: 'declared', configMap: { name: 'mcpgateway-declared' } },
        ]),
        containers: [
          {
            volumeMounts: expect.arrayContaining([
              { name: 'declared', mountPath: '/etc/mcp-gateway-declared', readOnly: true },
            ]),
          },
        ],
      },
    })
  })

  test('values make a route of the Gateway API beside the Ingress', async () => {
    const text = await charted('adapter', '--set', 'httpRoute.enabled=true')

    expect(manifestsIn(text).find(({ kind }) => kind === 'HTTPRoute')?.spec).toMatchObject({
      hostnames: ['mcp.example.com'],
      rules: [{ backendRefs: [{ name: 'mcpgateway-service', port: 8000 }] }],
    })
  })
})

test.each(['local', 'production'])(
  'the gateways of the overlay %s outrank the adapters that they run',
  async (overlay) => {
    const { stdout } = await run('kubectl', [
      'kustomize',
      `${deploy}/kubernetes/overlays/${overlay}`,
    ])
    const manifests = manifestsIn(stdout) as (Manifest & { readonly value?: number })[]
    const priority = manifests.find(({ kind }) => kind === 'PriorityClass')
    const classes = manifests
      .filter(({ kind }) => kind === 'StatefulSet')
      .map(({ spec }) => (spec?.template as { spec?: { priorityClassName?: string } })?.spec)

    expect(priority?.value).toBeGreaterThan(0)
    expect(classes.map((each) => each?.priorityClassName)).toEqual([
      priority?.metadata.name,
      priority?.metadata.name,
    ])
  },
)

describe('the production overlay', () => {
  test('a second apply changes nothing, except disruption budgets in kubectl’s words', async () => {
    const { stdout } = await run('kubectl', [
      'kustomize',
      `${deploy}/kubernetes/overlays/production`,
    ])
    const manifests = stdout
      .split(/^---$/m)
      .filter((document) => !/^kind: Namespace$/m.test(document))
      .join('---')
      .replaceAll('namespace: adapter', `namespace: ${namespace.name}`)

    expect(await told(manifests, 'apply')).toContain('networkpolicy.networking.k8s.io/nobody')
    const again = (await told(manifests, 'apply')).trim().split('\n')

    // kubectl always sends the selector of a disruption budget: its patch strategy is to replace.
    expect(again.filter((line) => !line.endsWith(' unchanged'))).toEqual([
      'poddisruptionbudget.policy/mcpgateway configured',
      'poddisruptionbudget.policy/toolgateway configured',
    ])
    expect(await told(manifests, 'diff')).toBe('')
  })

  test('the overlay runs images by the names of `npm run images`', async () => {
    const pushed = projectImages.flatMap(({ references }) =>
      references.map((reference) => `registry.example.com/${reference}`),
    )
    const wanted = [...JSON.stringify(await kustomized()).matchAll(/"image":"([^"]*)"/g)].map(
      ([, image]) => image,
    )
    expect(wanted.length).toBeGreaterThan(1)
    expect(pushed).toEqual(expect.arrayContaining(wanted))
  })

  test('the overlay has no keys, no passwords and no development identity', async () => {
    const manifests = await kustomized()
    expect(manifests.filter(({ kind }) => kind === 'Secret')).toEqual([])
    const { data } = manifests.find(({ kind }) => kind === 'ConfigMap') as Manifest
    expect(parse(data?.['mcp-gateway.yaml'] ?? '')).toMatchObject({ identity: { mode: 'oidc' } })
    // An adapter may have the name mcp-gateway, so the name alone says nothing.
    const labels: object[] = []
    JSON.stringify(manifests, (_, value: unknown) => {
      if (typeof value === 'object' && value !== null && 'app.kubernetes.io/name' in value)
        labels.push(value)
      return value
    })
    expect(labels.length).toBeGreaterThan(20)
    expect(labels.filter((each) => !('app.kubernetes.io/component' in each))).toEqual([])
  })
})
