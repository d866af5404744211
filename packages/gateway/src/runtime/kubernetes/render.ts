import { createHash } from 'node:crypto'
import type { StatefulSet } from 'kubernetes-types/apps/v1.js'
import type {
  Container,
  PodTemplateSpec,
  Probe,
  Secret,
  Service,
  Volume,
} from 'kubernetes-types/core/v1.js'
import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1.js'
import type { KubernetesConfig } from '../../config/kubernetes.ts'
import type { Workload } from '../../core/workload.ts'
import { imagePattern } from '../../core/fields/image-pattern.ts'
import { defined } from '../../lib/defined.ts'
import { compileGlob } from '../../lib/glob.ts'
import { annotation, label, objectLabels, selectorLabels } from './labels.ts'

/** All objects of a workload on a cluster. Undefined objects must not exist. */
export interface Manifests {
  readonly Secret: Secret | undefined
  readonly Service: Service
  readonly StatefulSet: StatefulSet
  readonly PodDisruptionBudget: PodDisruptionBudget | undefined
}

/**
 * The newest generation of each of the last pod templates, by digest. It tells the generation of a
 * pod.
 */
export type TemplateHistory = Readonly<Record<string, number>>

type PodSettings = KubernetesConfig['pod']

/**
 * Renders a workload's manifests. Pure: equal input gives equal output. `history` is the
 * StatefulSet's history so far.
 */
export function renderManifests(
  workload: Workload,
  settings: KubernetesConfig,
  history: TemplateHistory = {},
): Manifests {
  const pod = podSettings(workload, settings)
  const port = workload.port ?? pod.port
  const { name, generation, withheld } = workload
  const replicas = withheld === undefined ? workload.replicas : 0
  const metadata = {
    namespace: settings.namespace,
    labels: objectLabels(workload, settings.installation),
  }
  const matchLabels = selectorLabels(workload)
  const template = stamped(podTemplate(workload, settings, pod, port))
  const digest = template.metadata?.annotations?.[annotation.template] ?? ''

  return {
    Secret:
      Object.keys(workload.environment).length === 0
        ? undefined
        : {
            apiVersion: 'v1',
            kind: 'Secret',
            metadata: { ...metadata, name: environmentName(name) },
            // The type cannot be changed, so even a race cannot take over a Secret of somebody
            // else.
            type: 'mcp-gateway/environment',
            data: Object.fromEntries(
              sorted(workload.environment).map(([key, value]) => [
                key,
                Buffer.from(value).toString('base64'),
              ]),
            ),
          },
    Service: {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { ...metadata, name: serviceName(name) },
      spec: {
        clusterIP: 'None',
        ipFamilyPolicy: 'PreferDualStack',
        // A lookup by name must find a replica before it is Ready: the gateway knows first when it
        // is.
        publishNotReadyAddresses: settings.address === 'dns',
        selector: matchLabels,
        ports: [{ name: 'http', port, targetPort: 'http', protocol: 'TCP', appProtocol: 'http' }],
      },
    },
    StatefulSet: {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: {
        ...metadata,
        name,
        annotations: defined({
          [annotation.generation]: String(generation),
          [annotation.image]: `${workload.image.name}:${workload.image.version}`,
          [annotation.path]: pod.path,
          [annotation.withheld]:
            withheld === undefined
              ? undefined
              : JSON.stringify({ ...withheld, replicas: workload.replicas }),
          [annotation.history]: JSON.stringify(remembered(history, digest, generation)),
        }),
      },
      spec: {
        serviceName: serviceName(name),
        replicas,
        podManagementPolicy: 'Parallel',
        updateStrategy: { type: 'RollingUpdate' },
        revisionHistoryLimit: 5,
        selector: { matchLabels },
        template,
      },
    },
    PodDisruptionBudget:
      replicas < 2
        ? undefined
        : {
            apiVersion: 'policy/v1',
            kind: 'PodDisruptionBudget',
            metadata: { ...metadata, name },
            // A replica that is down anyway must not hold up the draining of its node.
            spec: {
              maxUnavailable: 1,
              unhealthyPodEvictionPolicy: 'AlwaysAllow',
              selector: { matchLabels },
            },
          },
  }
}

export const serviceName = (name: string): string => `${name}-service`
export const environmentName = (name: string): string => `${name}-environment`
export const containerName = (name: string): string => `${name}-container`

/** The template history of a StatefulSet; empty when somebody has damaged it. */
export function historyOf(statefulSet: StatefulSet | undefined): TemplateHistory {
  const parsed = annotationOf(statefulSet, annotation.history)
  return Object.fromEntries(
    Object.entries(parsed ?? {}).filter(
      (entry): entry is [string, number] => typeof entry[1] === 'number',
    ),
  )
}

/** Why a StatefulSet's workload is withheld, if it is, and how many replicas are wanted. */
export function withheldOf(
  statefulSet: StatefulSet | undefined,
): (NonNullable<Workload['withheld']> & { readonly replicas: number }) | undefined {
  const { reason, message, replicas } = annotationOf(statefulSet, annotation.withheld) ?? {}
  return typeof reason === 'string'
    ? { reason, message: String(message), replicas: Number(replicas) }
    : undefined
}

function annotationOf(
  statefulSet: StatefulSet | undefined,
  name: string,
): Record<string, unknown> | undefined {
  const text = statefulSet?.metadata?.annotations?.[name]
  try {
    return text === undefined ? undefined : (JSON.parse(text) as Record<string, unknown>)
  } catch {
    return undefined
  }
}

/**
 * Other templates belong to earlier generations: a secret can change while the generation stays the
 * same.
 */
function remembered(history: TemplateHistory, digest: string, generation: number): TemplateHistory {
  const others = Object.entries(history).filter(([other]) => other !== digest)
  const newest = others
    .map(([other, of]): [string, number] => [other, Math.min(of, generation - 1)])
    .toSorted(([, a], [, b]) => b - a)
  return Object.fromEntries([[digest, generation], ...newest.slice(0, 9)])
}

function podTemplate(
  workload: Workload,
  settings: KubernetesConfig,
  pod: PodSettings,
  port: number,
): PodTemplateSpec {
  const { useWorkloadIdentity, restartedAt } = workload
  const { workloadIdentity } = settings
  const matchLabels = selectorLabels(workload)
  const spread = {
    maxSkew: 1,
    whenUnsatisfiable: 'ScheduleAnyway',
    labelSelector: { matchLabels },
  } as const

  return {
    metadata: {
      labels: defined({
        ...objectLabels(workload, settings.installation),
        [label.identity]: useWorkloadIdentity ? 'true' : undefined,
      }),
      annotations: defined({
        ...pod.annotations,
        ...(useWorkloadIdentity ? workloadIdentity.annotations : {}),
        [annotation.restartedAt]: restartedAt,
        [annotation.environment]: digestOf([workload.uid, sorted(workload.environment)]),
      }),
    },
    spec: defined({
      serviceAccountName: useWorkloadIdentity
        ? workloadIdentity.serviceAccount
        : settings.serviceAccount,
      automountServiceAccountToken: useWorkloadIdentity,
      // Service links would add variables of every Service in the namespace, mostly of strangers.
      enableServiceLinks: false,
      terminationGracePeriodSeconds: pod.drainSeconds + pod.stopGraceSeconds,
      securityContext: securityContextOf(pod),
      imagePullSecrets:
        settings.imagePullSecrets.length === 0
          ? undefined
          : settings.imagePullSecrets.map((secret) => ({ name: secret })),
      nodeSelector: Object.keys(pod.nodeSelector).length === 0 ? undefined : pod.nodeSelector,
      tolerations: pod.tolerations.length === 0 ? undefined : pod.tolerations,
      topologySpreadConstraints: [
        { topologyKey: 'kubernetes.io/hostname', ...spread },
        { topologyKey: 'topology.kubernetes.io/zone', ...spread },
      ],
      containers: [container(workload, settings, pod, port)],
      volumes: [
        { name: 'tmp', emptyDir: {} },
        ...pod.volumes.map(({ name: volume, source }): Volume => ({ ...source, name: volume })),
      ],
    }),
  }
}

function securityContextOf({ runAsUser, runAsGroup }: PodSettings) {
  return {
    runAsNonRoot: true,
    ...(runAsUser === 0 ? {} : { runAsUser }),
    ...(runAsGroup === 0 ? {} : { runAsGroup, fsGroup: runAsGroup }),
    seccompProfile: { type: 'RuntimeDefault' },
  }
}

function container(
  { name, image, environment }: Workload,
  settings: KubernetesConfig,
  pod: PodSettings,
  port: number,
): Container {
  const probe: Probe =
    pod.probe.type === 'http'
      ? { httpGet: { path: pod.probe.path, port: 'http' } }
      : { tcpSocket: { port: 'http' } }

  return defined({
    name: containerName(name),
    image: imageReference(image, settings),
    imagePullPolicy: settings.imagePullPolicy,
    command: pod.command.length === 0 ? undefined : pod.command,
    args: pod.args.length === 0 ? undefined : pod.args,
    ports: [{ name: 'http', containerPort: port, protocol: 'TCP' }],
    env: [
      { name: 'HOST', value: settings.listenAddress },
      { name: 'PORT', value: String(port) },
      {
        name: 'MCPGW_REPLICA_NAME',
        valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.name' } },
      },
      // The image's own home cannot be written to.
      ...('HOME' in environment ? [] : [{ name: 'HOME', value: '/tmp' }]),
    ],
    // The whole environment is a Secret, because the gateway cannot tell which values are secret. A
    // Secret's values are literal: `$(NAME)` is not replaced.
    envFrom:
      Object.keys(environment).length === 0
        ? undefined
        : [{ secretRef: { name: environmentName(name) } }],
    resources: { requests: pod.requests, limits: pod.limits },
    startupProbe: {
      ...probe,
      periodSeconds: 1,
      timeoutSeconds: 1,
      failureThreshold: pod.startTimeoutSeconds,
    },
    readinessProbe: { ...probe, periodSeconds: 5, timeoutSeconds: 2, failureThreshold: 2 },
    // A long call may block a server that answers HTTP; a refused connection is conclusive sooner.
    livenessProbe: {
      ...probe,
      periodSeconds: 10,
      timeoutSeconds: 5,
      failureThreshold: pod.probe.type === 'http' ? 30 : 6,
    },
    lifecycle:
      pod.drainSeconds === 0 ? undefined : { preStop: { sleep: { seconds: pod.drainSeconds } } },
    // The last output explains most crashes.
    terminationMessagePolicy: 'FallbackToLogsOnError',
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    },
    volumeMounts: [
      { name: 'tmp', mountPath: '/tmp' },
      ...pod.volumes.map(({ name: volume, mountPath, readOnly }) =>
        defined({ name: volume, mountPath, readOnly: readOnly || undefined }),
      ),
    ],
  })
}

/** Adds a template's digest to it, which tells pods of different templates apart. */
function stamped(template: PodTemplateSpec): PodTemplateSpec {
  return {
    ...template,
    metadata: {
      ...template.metadata,
      annotations: { ...template.metadata?.annotations, [annotation.template]: digestOf(template) },
    },
  }
}

function podSettings(
  { name, image }: Pick<Workload, 'name' | 'image'>,
  { pod, overrides }: KubernetesConfig,
): PodSettings {
  const found = overrides.find(
    (each) => compileGlob(each.name)(name) && imagePattern(each.image)(image),
  )
  if (found === undefined) return pod
  const { name: _name, image: _image, ...override } = found
  return {
    ...pod,
    ...Object.fromEntries(Object.entries(override).filter(([, value]) => value !== undefined)),
    requests: { ...pod.requests, ...override.requests },
    limits: { ...pod.limits, ...override.limits },
    nodeSelector: { ...pod.nodeSelector, ...override.nodeSelector },
    annotations: { ...pod.annotations, ...override.annotations },
  }
}

/** The image reference that the cluster pulls. A name cannot leave the configured registries. */
export function imageReference(
  image: Workload['image'],
  { registry, registries }: Pick<KubernetesConfig, 'registry' | 'registries'>,
): string {
  const slash = image.name.indexOf('/')
  const first = slash === -1 ? undefined : image.name.slice(0, slash)
  const other =
    first !== undefined && Object.hasOwn(registries, first) ? registries[first] : undefined
  const path = other === undefined ? image.name : image.name.slice(slash + 1)
  const prefix = (other ?? registry).replace(/\/+$/, '')
  const separator = image.version.startsWith('sha256:') ? '@' : ':'
  return `${prefix === '' ? '' : `${prefix}/`}${path}${separator}${image.version}`
}

function sorted(environment: Readonly<Record<string, string>>): [string, string][] {
  return Object.entries(environment).toSorted(([a], [b]) => (a < b ? -1 : 1))
}

/** 64 bits: enough to tell changes apart, too few to confirm a guess of a good secret. */
function digestOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16)
}
