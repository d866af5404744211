import type { ResourceKind } from '../../core/resource.ts'
import type { CatalogueMember } from '../catalogue/catalogue.ts'
import type { MemberLists } from '../lists/member-lists.ts'
import type { Member } from './member.ts'
import type { MemberStanding } from './standing.ts'

/** A member with what the aggregate needs to know of it. */
export interface AssembledMember {
  readonly member: Member & CatalogueMember
  readonly kind: ResourceKind
  readonly required: boolean
  /**
   * Undefined for registered tools, which need no reading, and for an adapter that is missing or
   * that nobody who may use it has asked for.
   */
  readonly lists: MemberLists | undefined
  readonly standing: () => MemberStanding
}
