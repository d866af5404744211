import type { FastifyInstance } from 'fastify'
import { addJsonParser, addProblems } from '../http/rest.ts'
import type { ApiKeyRegistryOptions } from './api-keys/api-key-registry.ts'
import { addApiDocument } from './api-document.ts'
import { addApiKeys } from './api-keys/api-key-routes.ts'
import { addAuditTrail } from './audit-trail.ts'
import { knowCallers, type CallerOptions } from './callers.ts'
import { addDiscovery, type DiscoveryOptions } from './discovery/discovery-routes.ts'
import { addGatewayStatus, type GatewayStatusOptions } from './gateway-status.ts'
import { addImport } from './import/import-routes.ts'
import { addResources, type ResourceRouteOptions } from './resources/resource-routes.ts'
import type { SecretRegistryOptions } from './secrets/secret-registry.ts'
import { addSecrets } from './secrets/secret-routes.ts'
import { addToolImport, type ToolImportRouteOptions } from './tool-import/tool-import-routes.ts'
import { addServers, type ServerRouteOptions } from './servers/server-routes.ts'

export interface ControlPlaneOptions
  extends
    ResourceRouteOptions,
    ApiKeyRegistryOptions,
    SecretRegistryOptions,
    ServerRouteOptions,
    ToolImportRouteOptions,
    CallerOptions,
    GatewayStatusOptions,
    Omit<DiscoveryOptions, 'servers'> {
  /** Read side only. The reconciler alone writes to a runtime. */
  readonly runtime: ResourceRouteOptions['runtime'] & GatewayStatusOptions['runtime']
  readonly shares: ResourceRouteOptions['shares'] & CallerOptions['shares']
}

/**
 * The control plane: `/adapters`, `/tools`, `/api-keys`, `/secrets`, `/servers`, `/status`, the
 * addresses at which clients find servers, and the API document.
 */
export function controlPlane(app: FastifyInstance, options: ControlPlaneOptions): void {
  addJsonParser(app)
  addProblems(app)
  void app.register(async (resources) => {
    addAuditTrail(resources, options.audit)
    knowCallers(resources, options)
    addResources(resources, options.kinds.adapter, options)
    addResources(resources, options.kinds.tool, options)
    addToolImport(resources, options.kinds.tool, options)
    addApiKeys(resources, options)
    addSecrets(resources, options)
    addServers(resources, options)
    addGatewayStatus(resources, options)
    addImport(resources, { ...options, adapter: options.kinds.adapter })
  })
  void app.register(async (discovery) => {
    addAuditTrail(discovery, options.audit)
    knowCallers(discovery, options, 'all')
    addDiscovery(discovery, options)
  })
  addApiDocument(app, options.version)
}
