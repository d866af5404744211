// Writes deploy/helm/mcp-gateway/values.schema.json: the chart's own values, and the settings of
// mcp-gateway.yaml under `configuration`. With --check, fails when the file is stale.
import { z } from 'zod'
import { ConfigSchema } from '../packages/gateway/dist/config/config.js'
import { writeGenerated } from './generated.js'

const text = { type: 'string' }
const flag = { type: 'boolean' }
const count = { type: 'integer', minimum: 0 }
const map = { type: 'object', additionalProperties: text }
const objects = { type: 'array', items: { type: 'object' } }
const digest = { type: 'string', pattern: '^(sha256:[0-9a-f]{64})?$' }
const table = (properties) => ({ type: 'object', additionalProperties: false, properties })
const account = table({ create: flag, name: { ...text, minLength: 1 }, annotations: map })
const component = table({
  minReplicas: { ...count, minimum: 1 },
  maxReplicas: { ...count, minimum: 1 },
  targetCpu: { ...text, pattern: String.raw`^\d+(\.\d+)?m?$` },
  resources: { type: 'object' },
  env: objects,
  extraVolumes: objects,
  extraVolumeMounts: objects,
  podAnnotations: map,
  podLabels: map,
  nodeSelector: map,
  tolerations: objects,
  affinity: { type: 'object' },
  topologySpreadConstraints: objects,
})

const schema = {
  $schema: 'http://json-schema.org/draft-07/schema#',
  ...table({
    global: { type: 'object' },
    image: table({
      registry: { ...text, minLength: 1 },
      gateway: { ...text, minLength: 1 },
      toolGateway: { ...text, minLength: 1 },
      tag: { ...text, pattern: String.raw`^([\w][\w.-]{0,127})?$` },
      digests: table({ gateway: digest, toolGateway: digest }),
      pullSecrets: { type: 'array', items: table({ name: text }) },
    }),
    configuration: settings(),
    declared: map,
    database: table({ secret: text, key: text, port: { ...count, minimum: 1, maximum: 65_535 } }),
    keys: table({ secret: text, create: flag }),
    priorityClass: table({ create: flag, name: text, value: count }),
    serviceAccounts: table({ gateway: account, toolGateway: account, workload: account }),
    rbac: table({ create: flag }),
    service: table({ type: { enum: ['ClusterIP', 'NodePort', 'LoadBalancer'] }, annotations: map }),
    autoscaling: table({ enabled: flag }),
    podDisruptionBudgets: table({ enabled: flag }),
    gateway: component,
    toolGateway: component,
    drainDelaySeconds: count,
    terminationGracePeriodSeconds: count,
    networkPolicies: table({ enabled: flag, clients: objects, database: objects }),
    ingress: table({
      enabled: flag,
      className: text,
      host: { ...text, minLength: 1 },
      tlsSecret: text,
      annotations: map,
    }),
    httpRoute: table({
      enabled: flag,
      parentRefs: { ...objects, minItems: 1 },
      hostnames: { type: 'array', items: text, minItems: 1 },
      annotations: map,
    }),
  }),
}

/** Defaults are left out: one of them is a folder of this machine. */
function settings() {
  const { $schema: _, ...found } = z.toJSONSchema(ConfigSchema, { io: 'input', target: 'draft-7' })
  return JSON.parse(JSON.stringify(found, (key, value) => (key === 'default' ? undefined : value)))
}

writeGenerated(
  'deploy/helm/mcp-gateway/values.schema.json',
  `${JSON.stringify(schema, null, 2)}\n`,
  'npm run helm:schema',
)
