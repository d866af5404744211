import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { withAliases } from '../../control/servers/member-aliases.ts'
import {
  memberKey,
  type MemberSpec,
  type VirtualServerSpec,
} from '../../core/virtual-servers/virtual-server.ts'
import { membershipsOf, type Candidate } from './membership.ts'

const owner = { id: 'ana', issuer: 'i' }
const labels = { team: 'data' }
const universe = ['git-hub', 'github', 'g-ithub', 'git-hub2', 'github2', 'x', 'x2', '9']

const candidate = (name: string): Candidate => ({
  kind: 'adapter',
  name,
  labels,
  owner,
  isOfOperator: false,
  createdAt: `2026-01-01T00:00:0${universe.indexOf(name)}.000Z`,
})

/** A change of the definition, or of the adapters that exist. */
type Step =
  | { readonly named: readonly string[]; readonly selects: boolean }
  | { readonly exist: readonly string[] }

const names = fc.uniqueArray(fc.constantFrom(...universe), { maxLength: 6 })
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ named: names, selects: fc.boolean() }),
  fc.record({ exist: names }),
)

/** The members of a virtual server through its life. */
class Life {
  #spec: VirtualServerSpec = { description: '', requiredRoles: [], members: [] }
  #exist: readonly string[] = []

  take(next: Step): void {
    if ('exist' in next) {
      this.#exist = next.exist
      return
    }
    const named = next.named.map((name): MemberSpec => ({ adapter: name }))
    const members = next.selects ? [...named, { selector: labels }] : named
    this.#spec = { description: '', requiredRoles: [], ...withAliases(members, this.#spec) }
  }

  /** The adapters by the aliases that lead to them. */
  get reached(): ReadonlyMap<string, string> {
    const reached = new Map<string, string>()
    const candidates = this.#exist.map((name) => candidate(name))
    for (const member of membershipsOf({ owner, spec: this.#spec }, candidates).members)
      if (!reached.has(member.alias)) reached.set(member.alias, memberKey(member))
    return reached
  }
}

describe('the aliases of a virtual server through its life', () => {
  test('an alias never leads to another server, whatever members come and go', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const life = new Life()
        const holders = new Map<string, string>()
        for (const next of steps) {
          life.take(next)
          for (const [alias, server] of life.reached) {
            expect(holders.get(alias) ?? server).toBe(server)
            holders.set(alias, server)
          }
        }
      }),
      { numRuns: 1000 },
    )
  })

  test('aliases do not depend on the order in which selected servers arrive', () => {
    const every = fc.shuffledSubarray(universe)
    fc.assert(
      fc.property(every, names, (arriving, named) => {
        const life = new Life()
        life.take({ named, selects: true })
        const before = life.reached
        let seen = new Map(before)
        for (const [index] of arriving.entries()) {
          life.take({ exist: arriving.slice(0, index + 1) })
          const now = life.reached
          for (const [alias, server] of seen) expect(now.get(alias)).toBe(server)
          seen = new Map(now)
        }

        const sorted = new Life()
        sorted.take({ named, selects: true })
        sorted.take({ exist: arriving.toSorted() })
        expect(new Map(sorted.reached)).toEqual(seen)
      }),
    )
  })
})
