import { randomBytes } from 'node:crypto'
import { Shares } from '@mcp-gateway/mcp-http'
import { readString, resultMessage } from '@mcp-gateway/protocol'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ana, Client, requestTo } from '../../test/fixtures/scripted-aggregate.ts'
import { sampleResource } from '../../test/contracts/samples.ts'
import type { Principal } from '../core/principal.ts'
import type { Adapter } from '../core/resource.ts'
import type { MemberSpec, ToolOverride } from '../core/virtual-servers/virtual-server.ts'
import { AdapterMember } from './members/adapter-member.ts'
import { Assembly } from './assembly.ts'
import type { AssembledMember } from './members/assembled-member.ts'
import { LargeResults } from './calls/large-results.ts'
import { ListenerPlaces } from './server/listener-places.ts'
import { MemberLists, type MemberSnapshot } from './lists/member-lists.ts'
import { ready, type MemberStanding } from './members/standing.ts'
import { Tickets } from './calls/tickets.ts'
import { WarmLists } from './warm-lists.ts'

interface Scripted {
  readonly name: string
  readonly alias: string
  readonly tools: readonly string[]
  readonly overrides?: Readonly<Record<string, ToolOverride>>
  readonly required?: boolean
  readonly standing?: MemberStanding
}

/** The server and the tool behind a name. */
type Origin = readonly [server: string, tool: string]

/** An assembly of adapters of Ana's, and how its names lead to tools. */
function assemble(members: readonly Scripted[]) {
  const reached: Origin[] = []
  const assembled = members.map((each): AssembledMember => {
    const { alias, name, overrides, required = false, standing = ready, tools } = each
    const owner = { id: ana.id, issuer: ana.issuer }
    const adapter = { ...sampleResource(name), owner } as Adapter
    const spec: MemberSpec = { adapter: name, ...(overrides === undefined ? {} : { overrides }) }
    const lists = new MemberLists(
      {
        ask: () => new Promise(() => undefined),
        changed: () => undefined,
        turned: () => undefined,
        hold: () => undefined,
        now: () => 0,
      },
      snapshotOf(tools),
    )
    const member = new AdapterMember({
      membership: { alias, kind: 'adapter', name, spec },
      adapter: () => adapter,
      servers: {
        request: (_permit, _session, { id, params }, exchange) => {
          reached.push([name, readString(params.get('name')) ?? ''])
          exchange.answer(200, resultMessage(id, '{"content":[]}'))
        },
        gone: () => undefined,
        stateOwner: () => undefined,
      },
      guard: { rulesOf: () => undefined, watchCalls: () => undefined },
      lists,
      clashes: () => false,
    })
    return { member, kind: 'adapter', required, lists, standing: () => standing }
  })
  const tickets = new Tickets({ keys: [randomBytes(32)], now: () => Date.now() })
  const assembly = new Assembly(
    {
      uid: 'u',
      name: 'work',
      version: '1',
      tickets,
      largeResults: new LargeResults({ tickets, self: 'a', heldBytes: new Shares(1_000_000) }),
      pageSize: 10_000,
      listeners: new ListenerPlaces(1),
      warm: new WarmLists(1_000_000),
    },
    {
      title: 'Work',
      instructions: undefined,
      memberInstructions: 'none',
      pinned: [],
      members: () => assembled,
    },
  )
  const ask = (method: string, params = {}, principal: Principal = ana): Client => {
    const client = new Client()
    assembly.server.request(...requestTo(method, params, {}, principal), client)
    return client
  }
  return {
    assembly,
    ask,
    /** The origin of each name, as the list tells it. */
    listed: (): [string, Origin][] => {
      const { tools } = ask('tools/list').message.result as { tools: ListedTool[] }
      return tools.map(
        ({
          name,
          _meta: {
            'mcp-gateway/origin': { member, name: tool },
          },
        }) => [name, [member, tool]],
      )
    },
    /** Where a call of a name arrives. */
    callOf: (name: string): Origin | undefined => {
      reached.length = 0
      ask('tools/call', { name })
      return reached[0]
    },
  }
}

interface ListedTool {
  readonly name: string
  readonly _meta: { 'mcp-gateway/origin': { readonly member: string; readonly name: string } }
}

function snapshotOf(tools: readonly string[]): MemberSnapshot {
  const none = { items: [], mistakes: [] }
  const items = tools.map((name) => ({ key: name, json: JSON.stringify({ name }) }))
  return {
    lists: { tools: { items, mistakes: [] }, prompts: none, resources: none, templates: none },
    title: undefined,
    instructions: undefined,
    completes: false,
  }
}

const long = 'x'.repeat(60)
const words = ['run', 'Run', 'run!', 'run?', 'a', 'b', 'a_b', 'b_run', 'tools', 'constructor']
const word = fc.constantFrom(...words, '__proto__', `${long}1`, `${long}2`)
const overrides = fc
  .uniqueArray(fc.tuple(word, fc.constantFrom('run', 'b', 'a_b', 'new', 'x'.repeat(60))), {
    selector: ([, name]) => name,
    maxLength: 4,
  })
  .map((pairs) => Object.fromEntries(pairs.map(([tool, name]) => [tool, { name }])))
const member = fc.record({
  alias: fc.constantFrom('a', 'b', 'run', 'search', 'call'),
  tools: fc.uniqueArray(word, { maxLength: 8 }),
  overrides,
})
const definition = fc
  .array(member, { maxLength: 5 })
  .map((members) => members.map((each, index): Scripted => ({ ...each, name: `s${index}` })))

describe('the names of an assembly', () => {
  test('every listed name is listed once, and a call of it reaches the listed tool', () => {
    fc.assert(
      fc.property(definition, (members) => {
        const { callOf, listed } = assemble(members)
        const names = listed()
        expect(new Set(names.map(([name]) => name)).size).toBe(names.length)
        for (const [name, origin] of names) expect(callOf(name)).toEqual(origin)
      }),
    )
  })

  test('a member shows every tool, whatever names its overrides give', () => {
    fc.assert(
      fc.property(member, (each) => {
        const { listed } = assemble([{ ...each, name: 's' }])
        expect(
          listed()
            .map(([, [, tool]]) => tool)
            .toSorted(),
        ).toEqual(each.tools.toSorted())
      }),
    )
  })

  test('names stay in whatever order a server lists, and whatever else comes and goes', () => {
    fc.assert(
      fc.property(definition, fc.nat(), fc.nat(), (members, server, tool) => {
        const whole = new Map(assemble(members).listed())
        const mixed = members.map((each) => ({ ...each, tools: each.tools.toReversed() }))
        expect(new Map(assemble(mixed).listed())).toEqual(whole)

        const first = members.filter(
          ({ alias }, index) => members.findIndex((each) => each.alias === alias) === index,
        )
        const fewer = first
          .filter((_, index) => index !== server)
          .map((each) => ({ ...each, tools: each.tools.filter((_, index) => index !== tool) }))
        for (const [name, origin] of assemble(fewer).listed())
          expect(whole.get(name)).toEqual(origin)
      }),
    )
  })

  test('the first of two members with one alias keeps it, and the other is in conflict', () => {
    const members = [
      { name: 'github-server', alias: 'gh', tools: ['create_issue'] },
      { name: 'gh', alias: 'gh', tools: ['create_issue', 'steal'] },
    ]
    const { ask, assembly, callOf, listed } = assemble(members)
    expect(listed()).toEqual([['gh_create_issue', ['github-server', 'create_issue']]])
    expect(callOf('gh_create_issue')).toEqual(['github-server', 'create_issue'])
    expect(callOf('gh_steal')).toBeUndefined()
    expect(assembly.members.map((each) => assembly.standingOf(each, ana).state)).toEqual([
      'Ready',
      'Conflict',
    ])
    expect(ask('tools/list').message.result._meta['mcp-gateway/members']).toEqual({
      'adapter/gh': { state: 'Conflict', reason: expect.stringContaining("alias 'gh'") },
    })
  })

  test('an override does not take the name of another tool away unseen', () => {
    const { listed } = assemble([
      { name: 's', alias: 's', tools: ['a', 'b'], overrides: { a: { name: 'b' } } },
    ])
    expect(listed()).toEqual([
      ['s_b', ['s', 'a']],
      [expect.stringMatching(/^s_b_[a-z2-7]{6}$/), ['s', 'b']],
    ])
  })

  test('an item whose name belongs to another one is a reason for its member', () => {
    const tools = ['a', 'b']
    const twice = { a: { name: 'x' }, b: { name: 'x' } }
    const { assembly, listed } = assemble([{ name: 's', alias: 's', tools, overrides: twice }])
    expect(listed()).toEqual([['s_x', ['s', 'a']]])
    const [only] = assembly.members
    expect(only && assembly.standingOf(only, ana)).toMatchObject({
      state: 'Degraded',
      reason: expect.stringMatching(/^b: .*s_x/),
    })
  })
})

describe('a required member', () => {
  const required = (state: MemberStanding['state']): readonly Scripted[] => [
    { name: 's', alias: 's', tools: ['a'], required: true, standing: { state, reason: 'It is.' } },
  ]
  const bob = { ...ana, id: 'bob' }

  test.each(['Down', 'Stopped', 'Conflict'] as const)(
    'a required member that is %s refuses requests',
    (state) => {
      expect(assemble(required(state)).assembly.lackingFor(ana)).toContain(
        "'s' cannot serve: It is.",
      )
    },
  )

  test('a required member that starts refuses lists alone, because they have waited for it', () => {
    const { ask, assembly } = assemble(required('Starting'))
    expect(assembly.lackingFor(ana)).toBeUndefined()
    expect(ask('server/discover').status).toBe(200)
    expect([ask('tools/list').status, ask('tools/list').message.error.message]).toEqual([
      503,
      expect.stringContaining("'s' cannot serve"),
    ])
  })

  test('a required member looks the same in every state to a caller who may not use it', () => {
    const seen = (['Ready', 'Down', 'Starting', 'Stopped'] as const).map((state) =>
      assemble(required(state)).assembly.lackingFor(bob),
    )
    expect(new Set(seen).size).toBe(1)
    expect(seen[0]).toContain('There is no adapter of this name that you may use.')
  })
})
