import { auditEdge } from '../audit/api-requests.ts'
import type { Audited } from '../audit/audit.ts'
import type { AddressOf } from '../audit/decision.ts'
import { auditMcpRequests } from '../audit/mcp-requests.ts'
import { openAudit } from '../audit/open.ts'
import type { AuditSinkConfig } from '../config/config.ts'
import { createShares } from '../core/shares.ts'
import { Entrance, type EntranceOptions } from '../ingress/entrance.ts'
import { createAccessLog } from '../telemetry/access-log.ts'
import type { Composition } from './composition.ts'

export interface DoorOptions extends Pick<EntranceOptions, 'authenticate' | 'challenge' | 'hop'> {
  /** The address that a request comes from, for the audit log. */
  readonly addressOf: AddressOf
  readonly sinks: readonly AuditSinkConfig[]
}

export type Door = Awaited<ReturnType<typeof openDoor>>

/** Opens the entrance for requests, the shares of callers, and the logs of requests. */
export async function openDoor(
  { config, log, parts, version, now }: Composition,
  { addressOf, sinks, ...admitting }: DoorOptions,
) {
  const audit = parts.use(
    await openAudit({
      sinks,
      queueRecords: config.audit.queueRecords,
      dataDir: config.dataDir,
      instance: admitting.hop.self,
      version,
      log,
      now,
    }),
  )

  const audited: Audited = (event) => audit.record(event)
  const { dataPlane } = config.audit

  const { bodyLimitBytes } = config.edge
  const shares = createShares(config.limits, bodyLimitBytes)
  const requestFinished = createAccessLog(log, config.edge.accessLog)
  const recheckMs = config.proxy.streamRecheckSeconds * 1000

  const entrance = new Entrance({
    ...admitting,
    bodyLimitBytes,
    shares,
    recheckMs,
    requestFinished,
    audit: dataPlane === 'off' ? undefined : auditMcpRequests(audited, dataPlane, addressOf),
  })

  parts.defer(async () => entrance[Symbol.dispose]())

  const refused = auditEdge(audited, addressOf)
  return { entrance, shares, requestFinished, audited, addressOf, refused, recheckMs }
}
