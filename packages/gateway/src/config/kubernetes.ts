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
  port: z.int().min(1).max(65_535),
  path: z.string().startsWith('/'),
  command: z.array(z.string()),
  args: z.array(z.string()),
  requests: quantities,
  limits: quantities,
  probe: z.discriminatedUnion('type', [
    z.strictObject({ type: z.literal('tcp') }),
    z.strictObject({ type: z.literal('http'), path: z.string().startsWith('/') }),
  ]),
  startTimeoutSeconds: z.int().min(1).max(86_400),
  drainSeconds: z.int().min(0).max(3600),
  stopGraceSeconds: z.int().min(1).max(86_400),
  runAsUser: z.int().min(0),
  runAsGroup: z.int().min(0),
  volumes: z.array(
    z.strictObject({
      name: labelText,
      mountPath: z.string().startsWith('/'),
      readOnly: z.boolean().default(false),
      source: manifestPart,
    }),
  ),
  nodeSelector: z.record(z.string(), z.string()),
  tolerations: z.array(manifestPart),
  annotations: z.record(z.string(), z.string()),
}

/** Settings for workloads on a cluster. */
export const KubernetesConfig = z.strictObject({
  /**
   * Path of a kubeconfig. Unset: `KUBECONFIG`, else `~/.kube/config`, else the pod's own account.
   */
  kubeconfig: z.string().optional(),
  context: z.string().optional(),
  namespace: labelText.default('adapter'),
  /** Separates the objects of gateways that share a namespace but no store. */
  installation: labelText.default('mcp-gateway'),
  /**
   * Only one of several gateways writes to the cluster. If it is silent for this long, another
   * takes over.
   */
  leaseSeconds: z.int().min(4).max(3600).default(8),
  /** Address of replicas: the pod's IP, or its name in the cluster's DNS. */
  address: z.enum(['ip', 'dns']).default('ip'),
  clusterDomain: z.string().default('cluster.local'),
  /** Listening address for servers. Use `::` where pods have IPv6 addresses. */
  listenAddress: z.string().default('0.0.0.0'),
  /**
   * Prefix of image names: `localhost:5000`, `registry.example.com/team`. Empty: names are
   * complete.
   */
  registry: z.string().default(''),
  /** Other registries. Each replaces a first part of image names: `{"ghcr": "ghcr.io/acme"}`. */
  registries: z.record(z.string(), z.string()).default({}),
  imagePullPolicy: z.enum(['Always', 'IfNotPresent', 'Never']).default('Always'),
  imagePullSecrets: z.array(z.string()).default([]),
  serviceAccount: z.string().default('default'),
  /** Settings for workloads with `useWorkloadIdentity`. */
  workloadIdentity: z
    .strictObject({
      serviceAccount: z.string().default('workload-sa'),
      annotations: z.record(z.string(), z.string()).default({}),
    })
    .prefault({}),
  pod: z
    .strictObject({
      /** Listening port of servers, which `PORT` tells them. Tools name their own port. */
      port: podFields.port.default(8000),
      path: podFields.path.default('/mcp'),
      /** Empty: the image decides. */
      command: podFields.command.default([]),
      args: podFields.args.default([]),
      requests: podFields.requests.default({ cpu: '250m', memory: '256Mi' }),
      limits: podFields.limits.default({ cpu: '1', memory: '512Mi', 'ephemeral-storage': '2Gi' }),
      probe: podFields.probe.default({ type: 'tcp' }),
      /** Time until the first successful probe. */
      startTimeoutSeconds: podFields.startTimeoutSeconds.default(120),
      /** Time between leaving the directory and SIGTERM, for open calls. */
      drainSeconds: podFields.drainSeconds.default(5),
      /** Time from SIGTERM to SIGKILL. */
      stopGraceSeconds: podFields.stopGraceSeconds.default(25),
      /** 0: the user that the image names, which may not be root. */
      runAsUser: podFields.runAsUser.default(1100),
      runAsGroup: podFields.runAsGroup.default(1100),
      volumes: podFields.volumes.default([]),
      nodeSelector: podFields.nodeSelector.default({}),
      tolerations: podFields.tolerations.default([]),
      annotations: podFields.annotations.default({}),
    })
    .prefault({}),
  /**
   * Settings for some workloads. The first entry whose patterns fit applies. Requests, limits, node
   * selectors and annotations are merged; all else is replaced.
   */
  overrides: z
    .array(
      z
        .strictObject(podFields)
        .partial()
        .extend({
          /**
           * The image, as in `access.images` or by its name only, and the name of the adapter or
           * tool.
           */
          image: z.string().default('*'),
          name: z.string().default('*'),
        }),
    )
    .default([]),
})
export type KubernetesConfig = z.output<typeof KubernetesConfig>
