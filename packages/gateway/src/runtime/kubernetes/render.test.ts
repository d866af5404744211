import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { ConfigSchema } from '../../config/config.ts'
import type { Workload } from '../../core/workload.ts'
import { annotation } from './labels.ts'
import { historyOf, imageReference, renderManifests } from './render.ts'

const workload: Workload = {
  kind: 'adapter',
  name: 'mcp-example',
  uid: '6f1c0d3e-0000-4000-8000-000000000001',
  generation: 1,
  image: { name: 'mcp-example', version: '1.0.0' },
  environment: {},
  replicas: 1,
  owner: '["development","alice"]',
  useWorkloadIdentity: false,
}
const settings = (kubernetes: object = {}) =>
  ConfigSchema.parse({ runtime: { kubernetes: { registry: 'localhost:5000', ...kubernetes } } })
    .runtime.kubernetes

/**
 * Each case has its manifest in `golden/`. `WRITE_GOLDEN=1` writes the manifests again; read the
 * changes.
 */
const cases: Readonly<Record<string, Parameters<typeof renderManifests>>> = {
  adapter: [workload, settings()],
  withheld: [
    {
      ...workload,
      replicas: 3,
      withheld: { reason: 'SecretMissing', message: 'There is no secret.' },
    },
    settings(),
  ],
  stopped: [{ ...workload, replicas: 0 }, settings()],
  'environment-and-replicas': [
    {
      ...workload,
      environment: { TOKEN: 'secret', GREETING: 'a $(HOME) "b"\n', HOME: '/data' },
      replicas: 3,
    },
    settings(),
  ],
  restarted: [{ ...workload, generation: 2, restartedAt: '2026-01-02T03:04:05.678Z' }, settings()],
  tool: [{ ...workload, kind: 'tool', name: 'weather', port: 8443 }, settings()],
  identity: [
    { ...workload, useWorkloadIdentity: true },
    settings({
      workloadIdentity: {
        annotations: { 'azure.workload.identity/service-account-token-expiration': '3600' },
      },
    }),
  ],
  'later-generation': [{ ...workload, generation: 7 }, settings(), { '0123456789abcdef': 6 }],
  digest: [
    { ...workload, image: { name: 'ghcr/server', version: `sha256:${'a'.repeat(64)}` } },
    settings({ registries: { ghcr: 'ghcr.io/acme/' } }),
  ],
  everything: [
    workload,
    settings({
      namespace: 'elsewhere',
      installation: 'blue',
      address: 'dns',
      listenAddress: '::',
      imagePullPolicy: 'IfNotPresent',
      imagePullSecrets: ['registry-key'],
      serviceAccount: 'adapters',
      pod: {
        port: 9000,
        path: '/',
        command: ['node'],
        args: ['main.js'],
        probe: { type: 'http', path: '/healthz' },
        startTimeoutSeconds: 10,
        drainSeconds: 0,
        stopGraceSeconds: 60,
        runAsUser: 0,
        runAsGroup: 0,
        volumes: [
          {
            name: 'models',
            mountPath: '/models',
            readOnly: true,
            source: { persistentVolumeClaim: { claimName: 'models' } },
          },
        ],
        nodeSelector: { 'kubernetes.io/arch': 'amd64' },
        tolerations: [{ key: 'mcp', operator: 'Exists' }],
        annotations: { 'prometheus.io/scrape': 'true' },
      },
      overrides: [
        { image: 'other:*', port: 1 },
        {
          image: 'mcp-*',
          name: 'mcp-?xample',
          requests: { cpu: '2' },
          limits: { cpu: '4', 'nvidia.com/gpu': '1' },
          nodeSelector: { gpu: 'yes' },
        },
        { port: 2 },
      ],
    }),
  ],
}

const golden = join(import.meta.dirname, 'golden')

describe('manifests', () => {
  test.each(Object.entries(cases))(
    'the manifests of %s are those of the golden file',
    (name, given) => {
      const text = Object.values(renderManifests(...given))
        .filter((manifest) => manifest !== undefined)
        .map((manifest) => stringify(manifest, { lineWidth: 0, aliasDuplicateObjects: false }))
        .join('---\n')
      const file = join(golden, `${name}.yaml`)
      if (process.env['WRITE_GOLDEN'] === '1') {
        mkdirSync(golden, { recursive: true })
        writeFileSync(file, text)
      }
      expect(text).toBe(readFileSync(file, 'utf8'))
    },
  )

  test('every golden file has its test', () => {
    expect(readdirSync(golden).toSorted()).toEqual(
      Object.keys(cases)
        .map((name) => `${name}.yaml`)
        .toSorted(),
    )
  })

  const template = (changes: Partial<Workload> = {}, configured: object = {}) =>
    renderManifests({ ...workload, ...changes }, settings(configured)).StatefulSet.spec?.template

  test('a change that needs no restart keeps the template', () => {
    expect(template({ generation: 2, replicas: 5 })).toEqual(template())
    expect(template({ environment: { B: '1', A: '2' } })).toEqual(
      template({ environment: { A: '2', B: '1' } }),
    )
    expect(
      template({}, { pod: { path: '/elsewhere' }, address: 'dns', clusterDomain: 'example.org' }),
    ).toEqual(template())
  })

  test('a change of what runs changes the template', () => {
    const others: Partial<Workload>[] = [
      { image: { name: 'mcp-example', version: '1.0.1' } },
      { environment: { A: '1' } },
      { environment: { A: '2' } },
      { useWorkloadIdentity: true },
      { restartedAt: '2026-01-02T03:04:05.678Z' },
      { restartedAt: '2026-01-02T03:04:05.679Z' },
    ]
    const all = [template(), ...others.map((changes) => template(changes))].map((each) =>
      JSON.stringify(each),
    )
    expect(new Set(all).size).toBe(all.length)
  })

  test('A12: no value of the environment stands outside the Secret', () => {
    const { Secret, ...rest } = renderManifests(
      { ...workload, environment: { TOKEN: 'Zm9v-secret' } },
      settings(),
    )
    expect(Secret?.data).toEqual({ TOKEN: Buffer.from('Zm9v-secret').toString('base64') })
    expect(JSON.stringify(rest)).not.toContain('Zm9v')
  })

  test('B28: the selector is the same with identity and without', () => {
    const selector = (useWorkloadIdentity: boolean) =>
      renderManifests({ ...workload, useWorkloadIdentity }, settings()).StatefulSet.spec?.selector
    expect(selector(true)).toEqual(selector(false))
  })

  test('a pod of another template is of an earlier generation', () => {
    const before = renderManifests(workload, settings()).StatefulSet
    const history = historyOf(
      renderManifests(
        { ...workload, environment: { SECRET: 'renewed' } },
        settings(),
        historyOf(before),
      ).StatefulSet,
    )
    expect(Object.values(history)).toEqual([1, 0])
    expect(history[before.spec?.template.metadata?.annotations?.[annotation.template] ?? '']).toBe(
      0,
    )
  })

  test('a StatefulSet remembers the newest generation of its last ten templates', () => {
    let statefulSet = renderManifests(workload, settings()).StatefulSet
    const first = statefulSet.spec?.template.metadata?.annotations?.[annotation.template] ?? ''
    for (let generation = 2; generation <= 12; generation += 1)
      statefulSet = renderManifests(
        { ...workload, generation, environment: { N: String(generation) } },
        settings(),
        historyOf(statefulSet),
      ).StatefulSet
    expect(Object.values(historyOf(statefulSet)).toSorted((a, b) => a - b)).toEqual([
      3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    ])
    statefulSet = renderManifests(
      { ...workload, generation: 13 },
      settings(),
      historyOf(statefulSet),
    ).StatefulSet
    expect(historyOf(statefulSet)[first]).toBe(13)
    expect(
      historyOf({ ...statefulSet, metadata: { annotations: { [annotation.history]: 'spoilt' } } }),
    ).toEqual({})
  })
})

describe('an image', () => {
  const registries = {
    registry: 'registry.example.com/team/',
    registries: { ghcr: 'ghcr.io/acme' },
  }
  test.each([
    ['server', '1.0', 'registry.example.com/team/server:1.0'],
    ['group/server', '1.0', 'registry.example.com/team/group/server:1.0'],
    ['ghcr/server', '1.0', 'ghcr.io/acme/server:1.0'],
    ['docker.io/server', '1.0', 'registry.example.com/team/docker.io/server:1.0'],
    [
      'server',
      `sha256:${'0'.repeat(64)}`,
      `registry.example.com/team/server@sha256:${'0'.repeat(64)}`,
    ],
    [
      'server',
      `1.0@sha256:${'0'.repeat(64)}`,
      `registry.example.com/team/server:1.0@sha256:${'0'.repeat(64)}`,
    ],
  ])('the image %s:%s is pulled as %s', (name, version, reference) => {
    expect(imageReference({ name, version }, registries)).toBe(reference)
  })

  test('an image has its whole name where no registry is configured', () => {
    expect(
      imageReference(
        { name: 'ghcr.io/acme/server', version: '1' },
        { registry: '', registries: {} },
      ),
    ).toBe('ghcr.io/acme/server:1')
  })
})
