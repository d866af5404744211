import type { ListKind } from '../lists/list-kinds.ts'
import type { MemberSnapshot } from '../lists/member-lists.ts'
import type { ShownItem } from './shown-item.ts'

/** The lists of one member, as clients see them. */
export type ShownItems = Readonly<Record<ListKind, readonly ShownItem[]>>

/** Forms of one snapshot after which the table is searched for those that nobody uses any more. */
const manyForms = 64

const forms = new WeakMap<MemberSnapshot, Map<string, WeakRef<ShownItems>>>()

/**
 * The shown form of a snapshot, which all virtual servers share that show it alike. `form` tells the
 * forms of one snapshot apart. Whoever uses a form keeps it in memory.
 */
export function sharedItems(
  snapshot: MemberSnapshot,
  form: string,
  make: () => ShownItems,
): ShownItems {
  let known = forms.get(snapshot)
  if (known === undefined) forms.set(snapshot, (known = new Map()))
  const shared = known.get(form)?.deref()
  if (shared !== undefined) return shared

  if (known.size >= manyForms)
    for (const [each, items] of known) if (items.deref() === undefined) known.delete(each)
  const made = make()
  known.set(form, new WeakRef(made))
  return made
}
