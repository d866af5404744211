import type { z } from 'zod'
import { schemaMistakeTable } from '../lib/json/json-schema.ts'

/** The mistakes that zod finds in bodies and queries, by zod's codes. */
const zodMistakes = {
  custom: 'The value breaks a rule that its type alone cannot express.',
  invalid_element: 'An element of the collection is not valid.',
  invalid_format: 'The text has the wrong form.',
  invalid_key: 'The name of the member is not valid.',
  invalid_type: 'The value is missing, or has another type.',
  invalid_union: 'The value fits none of the forms that are allowed.',
  invalid_value: 'The value is none of those that are allowed.',
  not_multiple_of: 'The number is not a multiple of the one that is required.',
  too_big: 'The value is too large or too long.',
  too_small: 'The value is too small or too short.',
  unrecognized_keys: 'The object has members that are not known.',
} as const satisfies Readonly<Record<z.core.$ZodIssue['code'], string>>

/** Every mistake of a request, by its stable code. */
export const mistakeTable = {
  ...zodMistakes,
  ...schemaMistakeTable,
  alias_taken: 'Another member has this alias.',
  already_owner: 'The resource belongs to this principal already.',
  ambiguous: 'Two members exclude each other. Give one of them.',
  anonymous_not_allowed: 'The configuration of the gateway allows no anonymous callers.',
  definition_too_large: 'The definition of the tool has too many bytes.',
  document_invalid: 'The document is no OpenAPI 3 document that the gateway can read.',
  document_unavailable: 'The gateway cannot fetch the document from this address.',
  duplicate_key: 'The object has the same member twice.',
  duplicate_parameter: 'The request of the tool has two parameters of one place and name.',
  endpoint_credentials: 'The URL holds a user name or a password. Use `credential` instead.',
  endpoint_forbidden: 'The configuration does not allow this address.',
  environment_too_large: 'Programs cannot start with so many bytes of variables.',
  fixed_parameter: 'The credential or the endpoint gives this header or query field already.',
  header_forbidden: 'An argument may not be this header, which HTTP or the gateway uses.',
  in_the_past: 'The time has passed. Give a later one.',
  invalid_header_annotation: 'An `x-mcp-header` of the schema breaks a rule of MCP 2026-07-28.',
  masked_value: 'The mask would keep a stored secret where none can be kept. Give the value again.',
  member_repeated: 'The adapter or tool is a member already.',
  more_mistakes: 'The request has more mistakes than the answer lists.',
  name_mismatch: 'The name in the body is not the name in the path.',
  name_reserved: 'The gateway needs this name itself. Choose another name.',
  override_repeated: 'Another override gives this name.',
  path_parameter: 'The path and the parameters of the path do not fit each other.',
  relative_path: 'The path is relative, and the gateway does not know to which folder.',
  schema_not_object: 'An `inputSchema` must have the type `object`.',
  secret_key_not_found: 'The secret exists, but has no such key.',
  secret_not_found: 'There is no such secret, or the caller may not use it.',
  too_costly: 'The rules take too long to judge in the worst case.',
  too_deep: 'The body has too many levels.',
  too_late: 'The time is later than the configuration allows.',
  too_many_members: 'The body has too many members and elements.',
  too_many_operations: 'The document has more operations than one import takes.',
  too_many_unknown_fields: 'The body has too many members that are not known.',
  unknown_argument: 'The `inputSchema` has no such property.',
  unknown_field: 'The member is not known here.',
  unsupported_package: 'The gateway cannot run packages of this kind.',
  variable_not_allowed: 'The variable changes which program runs, or is reserved.',
} as const

export type MistakeCode = keyof typeof mistakeTable

/** Every warning about a request that was carried out, by its stable code. */
export const warningTable = {
  not_imported: 'The member belongs to the client, and has no meaning for an adapter.',
  no_effect: 'The member has no effect beside an endpoint.',
  nothing_allowed: 'No tool rule allows anything, so every tool is denied.',
  placeholder: 'The value holds a placeholder of a client. The gateway does not expand it.',
  renamed_field: 'The member has a new name in MCP.',
  secret_in_endpoint: 'The URL seems to hold a secret. Readers of the resource can read it.',
  unknown_field: 'The member is not known, so it had no effect.',
} as const

export type WarningCode = keyof typeof warningTable

/** Every reason why an import makes no tool of an operation, by its stable code. */
export const importRefusalTable = {
  body_unsupported: 'The body is required, and is neither JSON, nor a form, nor text.',
  external_reference: 'A reference leads out of the document. The gateway opens nothing else.',
  import_too_large: 'The definitions of one import are too large together.',
  method_unsupported: 'A tool cannot send this method.',
  no_server: 'The document names no address of the service. Give `server`.',
  operation_ambiguous: 'Several operations have this id.',
  operation_not_found: 'The document has no such operation.',
  parameter_unsupported: 'A required parameter has a place, a style or a name that no tool has.',
  reference_loop: 'References lead in a circle.',
  reference_not_found: 'A reference leads to nothing.',
  schema_too_deep: 'The schemas have too many levels.',
  schema_too_large: 'The schemas are too large.',
} as const

export type ImportRefusalCode = keyof typeof importRefusalTable
