import type { z } from 'zod'

export interface Audit {
  /** Kind of the resource. */
  readonly kind: string
  readonly verb: string
  /** False for calls that get a record only if they are refused or an administrator's. */
  readonly always: boolean
}

export interface Endpoint {
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete'
  /** Parameters stand as `{name}` or `{id}`. */
  readonly path: string
  readonly summary: string
  readonly query?: z.ZodObject
  readonly body?: { readonly type: string; readonly schema: z.ZodType; readonly example?: unknown }
  readonly success: {
    readonly status: number
    readonly description: string
    readonly type?: string
    readonly schema?: z.ZodType
    readonly headers?: Readonly<Record<string, string>>
  }
  /** Statuses of its problem answers, besides 400, 401 and 503. */
  readonly problems: readonly number[]
  /** How the audit log records it. */
  readonly audit: Audit
}
