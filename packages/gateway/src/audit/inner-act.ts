import type { Subject } from './decision.ts'

/**
 * A message of a request to a virtual server, as it reaches one of the members. Its record is that
 * of the same message at the member's own address.
 */
export interface InnerAct {
  /** The action by which the client's own message is recorded. */
  readonly action: string
  /** The name or address that the client's message gives. */
  readonly asked: string | undefined
  /** The resource that the message reaches, or is kept from. */
  readonly subject: Subject
  /** The tool by the name that its server knows. */
  readonly tool?: string
  /** The arguments of the tool, as raw JSON. */
  readonly arguments?: string
  /** The caller was refused, although the answer does not say so. */
  denied: boolean
  /** The code of the reason why the resource did not serve. */
  failure?: string
}
