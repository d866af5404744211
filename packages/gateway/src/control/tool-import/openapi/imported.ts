import type { ToolBody } from '@mcp-gateway/contract'
import type { ImportRefusalCode } from '../../../core/mistakes.ts'

/** The work of one import that a thread does. All of it is plain data. */
export interface ImportTask {
  /** The document, as JSON or YAML. */
  readonly text: string
  /** The address of the document, for addresses that are relative to it. */
  readonly url?: string | undefined
  /** The address of the service, in place of that of the document. */
  readonly server?: string | undefined
  /** Stands before the names of all tools. */
  readonly prefix?: string | undefined
  /** Absent: all operations. */
  readonly operations?: readonly string[] | undefined
  /** Headers that the credential gives, so that no argument does. */
  readonly credentialHeaders: readonly string[]
}

/** A part of an operation that a tool has not, or that its owner should know. */
export interface Note {
  readonly code: 'parameter_left_out' | 'body_left_out' | 'credential_needed'
  readonly detail: string
}

/** An operation as a tool, or the reason why it is none. */
export interface ImportedOperation {
  /** Method and path. */
  readonly operation: string
  readonly operationId?: string
  readonly outcome:
    | { readonly body: ToolBody; readonly notes: readonly Note[] }
    | { readonly code: ImportRefusalCode; readonly detail: string }
}

export type ImportAnswer =
  | {
      readonly title: string
      readonly version: string
      readonly operations: readonly ImportedOperation[]
      /** Operations that were left out because there are too many. */
      readonly remaining: readonly string[]
    }
  | { readonly mistake: { readonly code: 'document_invalid'; readonly detail: string } }

/** Most operations that one request imports. */
export const mostOperations = 200
