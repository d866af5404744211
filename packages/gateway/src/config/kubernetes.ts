import { z } from 'zod'

export const labelText = z
  .string()
  .regex(
    /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
    "must be a DNS label: lower case letters, digits and '-'",
  )
const quantities = z.record(
  z.string(),
  z
    .string()
    .regex(
      /^\d+(\.\d+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$/,
      "must be a quantity of Kubernetes, for example '250m' or '512Mi'",
    ),
)
/** A part of a manifest that the gateway passes on unchanged. The cluster validates it. */
const manifestPart = z.record(z.string(), z.unknown())

/** Pod settings that an operator may set for all workloads, and override for some. */
const podFields = {
  port: z
    .int()
    .min(1)
    .max(65_535)
    .describe('Listening port of servers, which `PORT` tells them. Tools name their own port.'),
  path: z.string().startsWith('/').describe('Path of MCP.'),
  command: z.array(z.string()).describe('Command of the container. Empty: the image decides.'),
  args: z.array(z.string()).describe('Arguments of the container. Empty: the image decides.'),
  requests: quantities.describe('Resources that a pod reserves.'),
  limits: quantities.describe('Resources that a pod may use.'),
  probe: z
    .discriminatedUnion('type', [
      z.strictObject({ type: z.literal('tcp') }),
      z.strictObject({ type: z.literal('http'), path: z.string().startsWith('/') }),
    ])
    .describe('Probe of a server: a connection (tcp) or a path (http).'),
  startTimeoutSeconds: z
    .int()
    .min(1)
    .max(86_400)
    .describe('Time until the first successful probe.'),
  drainSeconds: z
    .int()
    .min(0)
    .max(3600)
    .describe('Time between leaving the directory and SIGTERM, for open calls.'),
  stopGraceSeconds: z.int().min(1).max(86_400).describe('Time from SIGTERM to SIGKILL.'),
  runAsUser: z
    .int()
    .min(0)
    .describe('User of the container; 0: the user that the image names, which may not be root.'),
  runAsGroup: z.int().min(0).describe('Group of the container.'),
  volumes: z
    .array(
      z.strictObject({
        name: labelText,
        mountPath: z.string().startsWith('/'),
        readOnly: z.boolean().default(false),
        source: manifestPart,
      }),
    )
    .describe('Volumes that a pod mounts.'),
  nodeSelector: z
    .record(z.string(), z.string())
    .describe('Labels of the nodes that a pod may run on.'),
  tolerations: z.array(manifestPart).describe('Taints of nodes that a pod tolerates.'),
  annotations: z.record(z.string(), z.string()).describe('Annotations of a pod.'),
}

/** Settings for workloads on a cluster. */
export const KubernetesConfig = z.strictObject({
  kubeconfig: z
    .string()
    .optional()
    .describe(
      'Path of a kubeconfig. Unset: `KUBECONFIG`, else `~/.kube/config`, else the ' +
        "account of the gateway's own pod.",
    ),
  context: z.string().optional().describe('Context of that kubeconfig. Unset: its current one.'),
  namespace: labelText.default('adapter').describe('Namespace of all workloads; it must exist.'),
  installation: labelText
    .default('mcp-gateway')
    .describe('Separates the objects of gateways that share a namespace but no store.'),
  leaseSeconds: z
    .int()
    .min(4)
    .max(3600)
    .default(8)
    .describe(
      'Only one of several gateways writes to the cluster. If it is silent for this ' +
        'long, another takes over (docs/kubernetes.md#several-gateways).',
    ),
  address: z
    .enum(['ip', 'dns'])
    .default('ip')
    .describe(
      'Address by which the gateway calls replicas: the IP of the pod, or its name ' +
        '`{pod}.{name}-service.{namespace}.svc.{clusterDomain}`.',
    ),
  clusterDomain: z
    .string()
    .default('cluster.local')
    .describe('Domain of the cluster, for the address `dns`.'),
  listenAddress: z
    .string()
    .default('0.0.0.0')
    .describe(
      'Address that servers are told to listen on (`HOST`); `::` where pods have IPv6 ' +
        'addresses.',
    ),
  registry: z
    .string()
    .default('')
    .describe(
      'Prefix of image names, such as `registry.example.com/team` ' +
        '(docs/kubernetes.md#images). Empty: names are complete.',
    ),
  registries: z
    .record(z.string(), z.string())
    .default({})
    .describe(
      'Other registries. Each replaces a first part of image names: `{"ghcr": ' +
        '"ghcr.io/acme"}`.',
    ),
  imagePullPolicy: z
    .enum(['Always', 'IfNotPresent', 'Never'])
    .default('Always')
    .describe('Pull policy of the pods of workloads.'),
  imagePullSecrets: z.array(z.string()).default([]).describe('Pull secrets of these pods.'),
  serviceAccount: z
    .string()
    .default('default')
    .describe('Service account of these pods. Its token is not mounted.'),
  workloadIdentity: z
    .strictObject({
      serviceAccount: z
        .string()
        .default('workload-sa')
        .describe('Service account of workloads with `useWorkloadIdentity`.'),
      annotations: z
        .record(z.string(), z.string())
        .default({})
        .describe('Annotations of these pods.'),
    })
    .prefault({})
    .describe('Settings for workloads with `useWorkloadIdentity`.'),
  pod: z
    .strictObject({
      port: podFields.port.default(8000),
      path: podFields.path.default('/mcp'),
      command: podFields.command.default([]),
      args: podFields.args.default([]),
      requests: podFields.requests.default({ cpu: '250m', memory: '256Mi' }),
      limits: podFields.limits.default({ cpu: '1', memory: '512Mi', 'ephemeral-storage': '2Gi' }),
      probe: podFields.probe.default({ type: 'tcp' }),
      startTimeoutSeconds: podFields.startTimeoutSeconds.default(120),
      drainSeconds: podFields.drainSeconds.default(5),
      stopGraceSeconds: podFields.stopGraceSeconds.default(25),
      runAsUser: podFields.runAsUser.default(1100),
      runAsGroup: podFields.runAsGroup.default(1100),
      volumes: podFields.volumes.default([]),
      nodeSelector: podFields.nodeSelector.default({}),
      tolerations: podFields.tolerations.default([]),
      annotations: podFields.annotations.default({}),
    })
    .prefault({})
    .describe('Settings of the pods of all workloads.'),
  overrides: z
    .array(
      z
        .strictObject(podFields)
        .partial()
        .extend({
          image: z
            .string()
            .default('*')
            .describe('The image, as in `access.images` or by its name only.'),
          name: z.string().default('*').describe('The name of the adapter or tool.'),
        }),
    )
    .default([])
    .describe(
      'Settings for some workloads. The first entry whose patterns fit applies. ' +
        'Requests, limits, node selectors and annotations are merged; all else is ' +
        'replaced.',
    ),
})
export type KubernetesConfig = z.output<typeof KubernetesConfig>
