import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Principal } from '../principal.ts'
import {
  compileToolRules,
  Effort,
  hintsOf,
  mostStepsOf,
  stepsOfName,
  type ToolHints,
  type ToolRule,
} from './tool-rules.ts'

const caller = (...roles: string[]): Principal => ({
  id: 'alice',
  issuer: 'https://idp.example',
  name: 'Alice',
  roles,
})
const anonymous: Principal = { id: '', issuer: 'anonymous', name: 'anonymous', roles: [] }
const allows = (
  rules: readonly ToolRule[],
  name: string,
  annotations?: object,
  principal = caller(),
): boolean | undefined =>
  compileToolRules(rules).allows(
    principal,
    name,
    annotations === undefined ? undefined : hintsOf(annotations),
  )

describe('rules for tools', () => {
  test('the first rule that fits decides, and a call that none fits is denied', () => {
    const rules: ToolRule[] = [
      { effect: 'allow', tools: 'delete_draft' },
      { effect: 'deny', tools: ['delete_*', 'drop_*'] },
      { effect: 'allow', tools: '*_*' },
    ]
    expect(
      ['delete_draft', 'delete_all', 'drop_table', 'get_weather', 'weather'].map((name) =>
        allows(rules, name),
      ),
    ).toEqual([true, false, false, true, false])
    expect(allows([], 'anything')).toBe(false)
  })

  test.each([
    'DELETE_all',
    ' delete_all',
    'delete_all\u200b',
    'dele\u00adte_all',
    'ｄｅｌｅｔｅ_all',
    'Delete_All ',
    'deleteﬁ',
  ])('a denied tool is denied as %j too', (name) => {
    const rules: ToolRule[] = [
      { effect: 'deny', tools: ['delete_*', 'deletefi'] },
      { effect: 'allow', tools: '*' },
    ]
    expect(allows(rules, name)).toBe(false)
  })

  test('names longer than any tool’s are denied, because judging them takes long', () => {
    expect(allows([{ effect: 'allow', tools: '*' }], 'a'.repeat(256))).toBe(true)
    expect(allows([{ effect: 'allow', tools: '*' }], 'a'.repeat(257))).toBe(false)
  })

  test('an allowed tool is allowed only in its own spelling', () => {
    const rules: ToolRule[] = [{ effect: 'allow', tools: 'get_*' }]
    expect(['get_x', 'GET_x', ' get_x', 'ｇet_x'].map((name) => allows(rules, name))).toEqual([
      true,
      false,
      false,
      false,
    ])
  })

  test.each(['a\u0000', 'a\nb', '\ud800', 'a\udc00b'])('no tool has the name %j', (name) => {
    expect(allows([{ effect: 'allow', tools: '*' }], name)).toBe(false)
  })

  test('rules name roles without case, and the anonymous caller has none', () => {
    const rules: ToolRule[] = [
      { effect: 'allow', tools: 'danger', roles: ['Operator'] },
      { effect: 'deny', tools: 'danger' },
      { effect: 'allow', tools: 'known', roles: ['*'] },
      { effect: 'allow', tools: 'open' },
    ]
    const seen = (principal: Principal): unknown[] =>
      ['danger', 'known', 'open'].map((name) => allows(rules, name, {}, principal))
    expect(seen(caller('operator'))).toEqual([true, true, true])
    expect(seen(caller('mcp.admin'))).toEqual([false, true, true])
    expect(seen(anonymous)).toEqual([false, false, true])
    expect(compileToolRules(rules).byRole).toBe(true)
    expect(compileToolRules(rules.slice(1, 2)).byRole).toBe(false)
  })

  test('rules name hints, and say when a tool cannot be judged without them', () => {
    const rules: ToolRule[] = [
      { effect: 'deny', tools: 'never' },
      { effect: 'allow', tools: 'list_*' },
      { effect: 'allow', tools: '*', annotations: { readOnlyHint: true } },
    ]
    expect(['never', 'list_all', 'other'].map((name) => allows(rules, name))).toEqual([
      false,
      true,
      undefined,
    ])
    expect(allows(rules, 'other', { readOnlyHint: true })).toBe(true)
    expect(allows(rules, 'other', { readOnlyHint: 'true' })).toBe(false)
    expect(allows(rules, 'other', {})).toBe(false)
    expect(allows(rules, 'never', { readOnlyHint: true })).toBe(false)
  })

  test('missing hints have the defaults of the specification', () => {
    const silent = {
      readOnlyHint: false,
      destructiveHint: true,
      idempotentHint: false,
      openWorldHint: true,
    }
    expect(
      [undefined, null, 'x', {}, { readOnlyHint: 1 }].map((annotations) => hintsOf(annotations)),
    ).toEqual(Array(5).fill(silent))
    expect(hintsOf({ readOnlyHint: true })).toEqual({
      ...silent,
      readOnlyHint: true,
      destructiveHint: false,
    })
    expect(hintsOf({ readOnlyHint: true, destructiveHint: true })).toEqual({
      ...silent,
      readOnlyHint: true,
    })
  })

  test('rules of 10,000 starred patterns take few steps, and none for a known name', () => {
    const tools = Array<string>(100).fill(`${'*a'.repeat(125)}`)
    const rules = compileToolRules(Array<ToolRule>(100).fill({ effect: 'deny', tools }))
    const effort = new Effort(100_000)
    expect(rules.allows(caller(), `${'a'.repeat(200)}b`, undefined, effort)).toBe(false)
    const { left } = effort
    expect(left).toBeLessThan(100_000)
    expect(rules.allows(caller('other'), `${'a'.repeat(200)}b`, {} as never, effort)).toBe(false)
    expect(effort.left).toBe(left)
  })

  test('rules are refused when the names of one message take too long together', () => {
    // The gateway took such rules before it bounded them.
    const tools = Array.from({ length: 100 }, (_, index) => `*${'?a'.repeat(100)}${index}*`)
    const rules = compileToolRules(Array<ToolRule>(100).fill({ effect: 'deny', tools }))
    const names = Array.from({ length: 1000 }, (_, index) => `${'a'.repeat(250)}${index}`)
    const effort = new Effort()
    const judge = (): void => {
      for (const name of names) rules.allows(caller(), name, undefined, effort)
    }
    expect(judge).toThrow(expect.objectContaining({ code: 'rules_too_costly' }))
    expect(mostStepsOf([{ effect: 'deny', tools }])).toBeGreaterThan(stepsOfName)
  })

  test('rules that people write stay far below the bound for one name', () => {
    const tools = Array.from({ length: 100 }, (_, index) => `*_table${index}_*`)
    const rules = Array<ToolRule>(10).fill({ effect: 'deny', tools })
    expect(mostStepsOf(rules)).toBeLessThan(stepsOfName)
  })

  test('rules decide as a plain reading of them does', () => {
    const name = fc.constantFrom('a', 'A', 'ab', 'b', 'B', 'ba')
    const hints = fc.record({
      readOnlyHint: fc.boolean(),
      destructiveHint: fc.boolean(),
      idempotentHint: fc.boolean(),
      openWorldHint: fc.boolean(),
    })
    const rule: fc.Arbitrary<ToolRule> = fc.record(
      {
        effect: fc.constantFrom('allow', 'deny'),
        tools: fc.oneof(
          fc.constantFrom('a', 'A', 'a*', '*', '?b'),
          fc.array(fc.constantFrom('a', 'B', 'b*'), { minLength: 1, maxLength: 3 }),
        ),
        annotations: fc.record(
          { readOnlyHint: fc.boolean(), destructiveHint: fc.boolean() },
          { requiredKeys: [] },
        ),
        roles: fc.array(fc.constantFrom('x', 'y', '*'), { minLength: 1, maxLength: 2 }),
      },
      { requiredKeys: ['effect', 'tools'] },
    )
    const model = (
      rules: readonly ToolRule[],
      roles: readonly string[],
      tool: string,
      given: ToolHints,
    ): boolean => {
      for (const { effect, tools, annotations = {}, roles: wanted } of rules) {
        const named = [tools].flat().some((pattern) => {
          const flags = effect === 'deny' ? 'i' : ''
          return new RegExp(`^${pattern.replaceAll('*', '.*').replaceAll('?', '.')}$`, flags).test(
            tool,
          )
        })
        const hinted = Object.entries(annotations).every(
          ([hint, value]) => given[hint as keyof ToolHints] === value,
        )
        const meant =
          wanted === undefined || wanted.some((role) => role === '*' || roles.includes(role))
        if (named && hinted && meant) return effect === 'allow'
      }
      return false
    }
    fc.assert(
      fc.property(
        fc.array(rule, { maxLength: 5 }),
        fc.subarray(['x', 'y']),
        name,
        hints,
        (rules, roles, tool, given) => {
          const compiled = compileToolRules(rules)
          const expected = model(rules, roles, tool, given)
          expect(compiled.allows(caller(...roles), tool, given)).toBe(expected)
          // Without hints the answer is the same, or depends on the hints.
          expect([expected, undefined]).toContain(
            compiled.allows(caller(...roles), tool, undefined),
          )
        },
      ),
      { numRuns: 3000 },
    )
  })
})
