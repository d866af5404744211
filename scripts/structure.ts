// Measures the structure of the tracked sources beside its goals. `npm run structure` prints the
// table; `npm run structure -- --list NAME` prints the places that one of its rows counts.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { parseSync, visitorKeys, type Comment, type Node } from 'oxc-parser'

const root = join(import.meta.dirname, '..')

interface Source {
  readonly path: string
  readonly text: string
  readonly lines: readonly string[]
  readonly program: Node
  readonly comments: readonly Comment[]
  readonly lineOf: (offset: number) => number
  /** Tests, their fixtures and helpers; the testkit is a source like any other. */
  readonly isTest: boolean
}

/** One thing that a row counts; the longest are listed first. */
interface Place {
  readonly source: Source
  readonly line: number
  readonly size?: number
  readonly text?: string
}

interface Figure {
  readonly count: string
  readonly tests: string
  readonly places: readonly string[]
}

interface Row {
  /** Names the row for `--list`. */
  readonly key: string
  readonly title: string
  readonly goal?: string
  /** The figure of the first review, at commit 58cd23a, before tests were counted apart. */
  readonly before?: string
  readonly figure: Figure
}

const { values: options } = parseArgs({ options: { list: { type: 'string' } } })
const sources = tracked('*.ts', '*.js', '*.mjs').map(read)
const rows = measure()

if (options.list === undefined) printTable()
else printPlaces(options.list)

function tracked(...patterns: string[]): string[] {
  const names = execFileSync('git', ['ls-files', '-z', ...patterns], { cwd: root })
  return String(names)
    .split('\0')
    .filter((name) => name !== '' && existsSync(join(root, name)))
}

function read(path: string): Source {
  const text = readFileSync(join(root, path), 'utf8')
  const { program, comments, errors } = parseSync(path, text, { preserveParens: false })
  if (errors.length > 0) throw new Error(`${path} does not parse: ${errors[0]?.message}`)

  const lines = text.split('\n')
  const starts = [0]
  for (const line of lines) starts.push((starts.at(-1) ?? 0) + line.length + 1)
  const lineOf = (offset: number): number => starts.findIndex((start) => start > offset)

  const isTest = isTestPath(path)
  return { path, text, lines, program, comments, lineOf, isTest }
}

function isTestPath(path: string): boolean {
  return /^test\/|^packages\/[^/]+\/test\/|\.test\.ts$/.test(path)
}

function measure(): Row[] {
  const functions = sources.flatMap(functionsOf)
  const long = functions.filter(({ size }) => size > 60)
  const comments = sources.flatMap(commentsOf)
  const openers = comments.filter(({ text }) => isNounClause(text))

  return [
    {
      key: 'functions',
      title: 'functions above 60 lines',
      goal: '≤ 4',
      before: '18',
      figure: counted(long.filter(({ kind }) => kind === 'function')),
    },
    {
      key: 'suites',
      title: '  apart: suites of tests',
      figure: counted(long.filter(({ kind }) => kind === 'suite')),
    },
    {
      key: 'tables',
      title: '  apart: tables of data',
      figure: counted(long.filter(({ kind }) => kind === 'table')),
    },
    {
      key: 'imports',
      title: 'modules above 15 imports',
      goal: '≤ 3',
      before: '8',
      figure: counted(sources.map(importsOf).filter(({ size }) => size > 15)),
    },
    {
      key: 'folders',
      title: 'folders above 20 files of source',
      goal: '≤ 2',
      before: '4',
      figure: fullFolders(sources.map(({ path }) => path)),
    },
    {
      key: 'documents',
      title: '  apart: folders above 20 documents',
      figure: fullFolders(tracked('*.md')),
    },
    {
      key: 'cycles',
      title: 'circles of imports, types included',
      goal: '0',
      before: '7',
      figure: circles(),
    },
    {
      key: 'lines',
      title: 'lines above 100 columns',
      goal: '≤ 50',
      before: '2710',
      figure: counted(sources.flatMap(longLines)),
    },
    {
      key: 'blank',
      title: 'blank lines in functions above 20 lines',
      goal: '≥ 8 %',
      before: '1.8 %',
      figure: blankLines(functions.filter(({ kind, size }) => kind === 'function' && size > 20)),
    },
    {
      key: 'openers',
      title: 'comments that open with a noun clause',
      goal: '≤ 1 %',
      figure: { ...counted(openers), ...shares(openers, comments) },
    },
    {
      key: 'comments',
      title: 'comments above 40 words',
      figure: counted(comments.filter(({ size }) => size > 40)),
    },
    {
      key: 'cannot',
      title: '“cannot” in two words, in every file',
      goal: '0',
      figure: twoWords(),
    },
    {
      key: 'spreads',
      title: 'spread-conditionals',
      before: '124',
      figure: counted(sources.flatMap((source) => nodesOf(source, isSpreadConditional))),
    },
    {
      key: 'parameters',
      title: 'functions above 4 parameters',
      before: '20',
      figure: counted(functions.filter(({ parameters }) => parameters > 4)),
    },
    {
      key: 'ternaries',
      title: 'ternaries within ternaries',
      figure: counted(sources.flatMap((source) => nodesOf(source, isChainedTernary))),
    },
    {
      key: 'width',
      title: 'characters a line',
      before: '45.8',
      figure: width(),
    },
  ]
}

interface MeasuredComment extends Place {
  readonly size: number
  readonly text: string
}

/** Line comments that follow each other are one comment. Directives of tools are none. */
function commentsOf(source: Source): MeasuredComment[] {
  const groups: { text: string; start: number; end: number; type: Comment['type'] }[] = []
  for (const { type, value, start, end } of source.comments) {
    const last = groups.at(-1)
    const text = value.replaceAll(/^\s*\* ?/gm, '').trim()
    const follows = last?.type === 'Line' && /^\n[ \t]*$/.test(source.text.slice(last.end, start))

    if (follows) Object.assign(last, { text: `${last.text} ${text}`, end })
    else groups.push({ text, start, end, type })
  }

  return groups
    .filter(({ text }) => text !== '' && !/^(?:oxlint-|eslint-|@ts-|#)/.test(text))
    .map(({ text, start }) => {
      const words = (text.split(/^@/m)[0] ?? '').trim().split(/\s+/).length
      return { source, line: source.lineOf(start), size: words, text: text.slice(0, 100) }
    })
}

function isNounClause(comment: string): boolean {
  return /^(?:Of|That|What|Whether|Who|Whoever|Whom|Whose)\b/.test(comment)
}

interface MeasuredFunction extends Place {
  readonly size: number
  readonly kind: 'function' | 'suite' | 'table'
  readonly parameters: number
}

type AnyFunction = Extract<
  Node,
  { type: 'ArrowFunctionExpression' | 'FunctionDeclaration' | 'FunctionExpression' }
>

function functionsOf(source: Source): MeasuredFunction[] {
  const found: MeasuredFunction[] = []
  walk(source.program, (node, parent) => {
    if (!isFunction(node) || node.body === null) return
    const isSuite = isOfTests(source, parent) || declaresTests(source, node)
    const kind = isTable(source, node) ? 'table' : 'function'

    found.push({
      source,
      line: source.lineOf(node.start),
      size: linesOf(source, node),
      kind: isSuite ? 'suite' : kind,
      parameters: node.params.length,
    })
  })
  return found
}

function isFunction(node: Node): node is AnyFunction {
  return (
    node.type === 'ArrowFunctionExpression' ||
    node.type === 'FunctionDeclaration' ||
    node.type === 'FunctionExpression'
  )
}

function linesOf(source: Source, { start, end }: Node): number {
  return source.lineOf(end) - source.lineOf(start) + 1
}

function isOfTests(source: Source, call: Node | undefined): boolean {
  if (call?.type !== 'CallExpression') return false
  const called = source.text.slice(call.callee.start, call.callee.end)
  return /^(?:describe|test|it)\b/.test(called)
}

/** Contract suites declare the same tests for each implementation. */
function declaresTests(source: Source, node: AnyFunction): boolean {
  const statements = node.body?.type === 'BlockStatement' ? node.body.body : []
  return statements.some(
    (each) => each.type === 'ExpressionStatement' && isOfTests(source, each.expression),
  )
}

/** A literal without statements of its own makes up three quarters of a table's lines. */
function isTable(source: Source, node: AnyFunction): boolean {
  let largest = 0
  walk(node, (inner) => {
    if (inner.type !== 'ObjectExpression' && inner.type !== 'ArrayExpression') return
    if (!holdsStatements(inner)) largest = Math.max(largest, linesOf(source, inner))
  })
  return largest >= linesOf(source, node) * 0.75
}

function holdsStatements(node: Node): boolean {
  let holds = false
  walk(node, (inner) => {
    if (isFunction(inner) && inner.body?.type === 'BlockStatement') holds = true
  })
  return holds
}

function importsOf(source: Source): Place & { readonly size: number } {
  const { program } = source
  const statements = program.type === 'Program' ? program.body : []
  const size = statements.filter(({ type }) => type === 'ImportDeclaration').length
  return { source, line: 1, size }
}

/** Sources that import each other: one place for each knot of files. */
function circles(): Figure {
  const paths = new Set(sources.map(({ path }) => path))
  const graph = new Map(
    sources.map((source) => [
      source.path,
      specifiersOf(source)
        .map((specifier) => join(dirname(source.path), specifier))
        .filter((path) => paths.has(path)),
    ]),
  )
  return countedPaths(knotsOf(graph).map((knot) => knot.join(' ↔ ')))
}

function specifiersOf(source: Source): string[] {
  const specifiers: string[] = []
  walk(source.program, (node) => {
    const from = 'source' in node ? node.source : undefined
    if (typeof from !== 'object' || from === null || from.type !== 'Literal') return
    specifiers.push(String(from.value))
  })
  return specifiers
}

/** Groups of files of which each reaches each other. */
function knotsOf(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const reached = new Map([...graph.keys()].map((path) => [path, reachedFrom(path, graph)]))
  const done = new Set<string>()
  const knots: string[][] = []

  for (const [path, targets] of reached) {
    if (done.has(path) || !targets.has(path)) continue
    const knot = [...targets].filter((target) => reached.get(target)?.has(path))
    for (const member of knot) done.add(member)
    knots.push(knot)
  }
  return knots
}

function reachedFrom(path: string, graph: ReadonlyMap<string, readonly string[]>): Set<string> {
  const seen = new Set<string>()
  const waiting = [...(graph.get(path) ?? [])]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (seen.has(next)) continue
    seen.add(next)
    waiting.push(...(graph.get(next) ?? []))
  }
  return seen
}

function longLines(source: Source): Place[] {
  return source.lines.flatMap((text, index) => {
    const size = text.length
    return size > 100 ? [{ source, line: index + 1, size, text: text.trim() }] : []
  })
}

function isSpreadConditional(node: Node): boolean {
  if (node.type !== 'SpreadElement') return false
  const { argument } = node
  if (argument.type === 'LogicalExpression') return argument.right.type === 'ObjectExpression'
  return (
    argument.type === 'ConditionalExpression' &&
    [argument.consequent, argument.alternate].some(
      (arm) => arm.type === 'ObjectExpression' && arm.properties.length === 0,
    )
  )
}

function isChainedTernary(node: Node): boolean {
  return (
    node.type === 'ConditionalExpression' &&
    [node.consequent, node.alternate].some((arm) => arm.type === 'ConditionalExpression')
  )
}

function nodesOf(source: Source, isCounted: (node: Node) => boolean): Place[] {
  const places: Place[] = []
  walk(source.program, (node) => {
    if (!isCounted(node)) return
    const line = source.lineOf(node.start)
    places.push({ source, line, size: 0, text: source.lines[line - 1]?.trim() ?? '' })
  })
  return places
}

function walk(
  node: Node,
  visit: (node: Node, parent: Node | undefined) => void,
  parent?: Node,
): void {
  visit(node, parent)
  const members = node as unknown as Readonly<Record<string, Node | readonly Node[] | null>>
  for (const key of visitorKeys[node.type] ?? []) {
    const member = members[key] ?? []
    for (const child of Array.isArray(member) ? member : [member])
      if (child !== null) walk(child as Node, visit, node)
  }
}

function fullFolders(paths: readonly string[]): Figure {
  const sizes = new Map<string, number>()
  for (const path of paths) sizes.set(dirname(path), (sizes.get(dirname(path)) ?? 0) + 1)

  const full = [...sizes].filter(([, size]) => size > 20).toSorted(([, a], [, b]) => b - a)
  return countedPaths(full.map(([folder, size]) => `${folder}/ ${size}`))
}

/** Each line once, however many functions hold it. */
function blankLines(functions: readonly MeasuredFunction[]): Figure {
  const held = new Map<Source, Set<number>>()
  for (const { source, line, size } of functions) {
    const lines = held.get(source) ?? new Set()
    for (let each = line; each < line + size; each += 1) lines.add(each)
    held.set(source, lines)
  }

  const share = (isTest: boolean): string => {
    const parts = [...held].filter(([source]) => source.isTest === isTest)
    const all = parts.flatMap(([source, lines]) => [...lines].map((each) => source.lines[each - 1]))
    return percent(all.filter((line) => line?.trim() === '').length, all.length)
  }
  const bare = functions.filter(
    ({ source, line, size }) => !source.lines.slice(line, line + size - 2).includes(''),
  )
  return { ...counted(bare), count: share(false), tests: share(true) }
}

function shares(part: readonly Place[], whole: readonly Place[]): Pick<Figure, 'count' | 'tests'> {
  const share = (isTest: boolean): string => {
    const inTests = ({ source }: Place): boolean => source.isTest === isTest
    return percent(part.filter(inTests).length, whole.filter(inTests).length)
  }
  return { count: share(false), tests: share(true) }
}

function percent(part: number, whole: number): string {
  return `${((100 * part) / whole).toFixed(1)} %`
}

function twoWords(): Figure {
  const files = tracked().filter((path) => !/\bpackage-lock\.json$/.test(path))
  return countedPaths(
    files.filter((path) => /\bcan\s+not\b/i.test(readFileSync(join(root, path), 'utf8'))),
  )
}

function width(): Figure {
  const mean = (isTest: boolean): string => {
    const lines = sources.filter((source) => source.isTest === isTest).flatMap((each) => each.lines)
    return (lines.reduce((sum, line) => sum + line.length, 0) / lines.length).toFixed(1)
  }
  return { count: mean(false), tests: mean(true), places: [] }
}

function counted(places: readonly Place[]): Figure {
  const sorted = places.toSorted((a, b) => (b.size ?? 0) - (a.size ?? 0))
  return {
    count: String(places.filter(({ source }) => !source.isTest).length),
    tests: String(places.filter(({ source }) => source.isTest).length),
    places: sorted.map(({ source, line, size = '', text = '' }) =>
      `${source.path}:${line} ${size} ${text}`.trimEnd(),
    ),
  }
}

function countedPaths(places: readonly string[]): Figure {
  return {
    count: String(places.filter((path) => !isTestPath(path)).length),
    tests: String(places.filter(isTestPath).length),
    places,
  }
}

function printTable(): void {
  const cells = [
    ['name', 'measure', 'count', 'in tests', 'goal', 'before'],
    ...rows.map(({ key, title, figure, goal = '', before = '' }) => [
      key,
      title,
      figure.count,
      figure.tests,
      goal,
      before,
    ]),
  ]

  const widths = [10, 42, 8, 8, 6, 6]
  for (const line of cells)
    console.log(
      line
        .map((cell, index) => cell.padEnd(widths[index] ?? 0))
        .join('  ')
        .trimEnd(),
    )
}

function printPlaces(name: string): void {
  const row = rows.find(({ key }) => key === name)
  if (row === undefined)
    throw new Error(`No row has the name '${name}'. Take one of the first column of the table.`)
  for (const place of row.figure.places) console.log(place)
}
