import { median } from './median.ts'

export interface Figures {
  readonly rps: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
  /** Microseconds of processor time a request, of the proxy alone. */
  readonly cpu: number
  /** MB. */
  readonly rss: number
  readonly sessionP50: number
  readonly errors: number
}

/** By `subject@connections`, one entry a round. */
export type Samples = Map<string, Figures[]>

export interface Report {
  readonly machine: string
  readonly rounds: number
  /** Further rounds, of subjects that goals compare to a tenth. */
  readonly closeRounds: number
  readonly seconds: number
  /** The longest warm-up of a subject. */
  readonly warmSeconds: number
  readonly levels: readonly number[]
  readonly samples: Samples
  readonly single: Readonly<Record<string, number>>
}

const preface = (warmSeconds: number): string => `# Benchmarks

This page shows the cost of the gateway and of the bridge, beside a plain forwarder and beside
their peers. The forwarder is simple, not the fastest that Node.js allows. A tuned one costs
less, so its ratios do not tell the distance from a minimum.

\`npm run bench\` measures all of it in one run on one machine, in about 25 minutes. It writes
this page except for the section on Kubernetes. \`npm run bench -- --quick\` takes three minutes;
\`--only gateway,"bare forwarder"\` measures a part, and writes nothing.

- Every subject is a process of its own. The bench starts and warms all subjects before it
  measures: each answers 30,000 calls over 32 connections, or as many as it can in ${warmSeconds} s. By
  then V8 has compiled the path of a call, and the processor time per call hardly falls any
  more. In the first second after a start, a call costs three to five times as much.
- Each connection has its own MCP session before the clock starts. The connection sends one
  \`tools/call\` after another, each with arguments of its own, to a very fast echo server. The
  load checks a sample of the answers.
- The load times new sessions one by one. At 8 connections 300 ms lie between them, so that a
  bridge has its spare child warm.
- Subjects take turns of a second. Each figure is the median of the rounds, and each ratio is
  the median of the rounds' ratios. Other guests of the host change the machine from minute to
  minute: the same process costs 85 µs a call in one round and 120 µs in the next.
- Each round measures 32 connections, and each third round also measures fewer. Subjects whose
  goals leave a tenth of room take more turns among themselves, because one process differs
  from itself by more than that from one second to the next.
- Processor time is that of the proxy's own process (for gateway + bridge, of both), from
  \`/proc\`. Load generator and echo server run on the same machine, so requests per second
  compare only within one run. Ratios hold; absolute figures belong to this machine.
- The gateway runs with its defaults: access log on, Host check, authorization and session
  unsealing on every request.
- Figures of starting and ending are the medians of five.

**Tokens.** \`gateway (tokens)\` is the gateway with access tokens of an OIDC issuer (RS256, 1
kB). Each request carries a token, and the gateway verifies each token once. The cost of an
unknown token is the processor time of 2,000 requests with tokens of their own, less that of
2,000 requests with one token. The flood comes from the same address over as many connections
as the good calls. It sends as fast as the gateway answers, with another bad token in each
request.

**Tools.** \`tool call\` is a \`tools/call\` at \`/mcp\` by a client of 2026-07-28 to a tool that is
the plain HTTP side of the echo server; \`(session)\` is the same by a client of 2025-11-25.
Another caller registers 10,000 tools for a role through \`POST /tools\`, once. Their definitions
have 1 kB, and their endpoints are elsewhere, so that nothing has to run for them. The figure
for 1,000 is the median of the ten thousands. Each subject with many tools starts with a copy
of that data folder. \`(many tools)\` is a caller with the role. \`(many hidden)\` is a caller
without the role, who sees one tool.

**Virtual servers.** \`aggregate call\` is a \`tools/call\` at a virtual server of ten members with
a hundred tools of 1 kB each, and \`member call\` is the same call at the address of that member.
Each member has a role of its own, so that callers see different members. The list is that of
all pages. Asleep members have no replicas.
`

const notes = `## Where the time goes

**gateway + bridge at one connection** is bound by latency, not by work. A call crosses four
processes one after another (client, gateway, bridge, server child), and at one connection
nothing overlaps. A profile of the gateway there (\`--cpu-prof\`, 2,650 calls/s) shows it idle
for two thirds of the time. A quarter of the rest is the \`writev\` of two small messages, each
of which also wakes the next process. Nothing else is above 2 %. A call needs two writes, two
reads and two waits, and no fewer system calls are possible. The bridge alone answers in half
the time of the better peer. The gateway adds one hop to that, as much as a bare forwarder
adds.

Three changes were tried, with several interleaved runs each. Collecting garbage on one thread,
and smaller or larger young generations, made no difference beyond the noise of 5 %. No helper
threads (\`--v8-pool-size=0\`) gave about 3 %. A Unix socket between gateway and bridge gave 6 %
(2,756 instead of 2,599 calls/s). It remains an option for keeping the bridge out of reach of
other local users.

**Translated calls** make more garbage than passed ones. The cost came from a chain: V8 keeps
the old table of a Map that it has rebuilt. Through that table it keeps every later table and
its contents, until a full collection. Requests that come and go in Maps survived for long in
this way (a third of the processor time of a translated call). Plain tables hold them now. The
engine alone (\`node --expose-gc --import tsx test/bench/engine.ts\`) does 129,000 messages/s of
1 kB from the modern to the legacy era, and 195,000 in the other direction (goal: 50,000).
1,000 parked calls take 3.1 MB (goal: 50).

**A call at a virtual server** misses its goal of 1.15 times the same call at the member. Runs
of nine to twelve rounds gave 1.25 to 1.47 where both are translated (305 and 241 µs). A
profile finds no single cause: half of the call is reading, writing and collecting garbage, as
at the member. These ratios are older than the present way of results, which stay apart until
they reach the client's side, and of envelopes, which are written once. Without sockets, that
took the work of a call at the virtual server from 15 to about 10 µs, where the translation
takes 15. In a legacy session it is 2.7 to 2.9 times a call that the adapter only passes on (370
and 136 µs), because a virtual server is a modern server inside, so that a legacy call to a
legacy member is translated twice. A way that passes its bytes on is missing. The same
runs gave a full list of ten members in 1.84 times the time of one (5.7 ms for 1,000 tools), 10
ms from connecting to the list with all members asleep, 1.6 ms for a search over 1,000 tools,
16 MB for 100 callers with ten views, and a search list with 99.8 % fewer bytes.

**Registering a tool** takes 2.5 to 3.5 ms beyond the client's own time. The transaction takes
about 1 ms, and the \`fsync\` is a third to a half of it. Compiling the schema in a thread of its
own takes 0.6 ms. Routing, validation, the audit record and the reconciler's look at new tools
take the rest. Registering once took twice as long, for three reasons. Counting an owner's
resources took as long as the owner had resources (0.7 ms at 5,000 of them); triggers keep the
count now. Rows of kilobytes in a table without row ids made a tree eight levels deep, and
every level was a page to read. Ajv spent a quarter of its time on optimizing its code, which
V8 does by itself.

**A known token** costs a comparison with the last token of its connection, and a kilobyte more
to receive: 2 to 3 µs a call. Looking for an API key in the token by an expression took as long
again.

**Large answers** leave dead buffers behind. V8 sees only their heads, and let 32 MB gather.
The gateway collects its young generation after every 8 MB that it has passed on, which takes
about a millisecond.
`

/** Writes the figures as a page, with the goals and whether each is met. */
export function report({
  machine,
  rounds,
  closeRounds,
  seconds,
  warmSeconds,
  levels,
  samples,
  single,
}: Report): string {
  const among = Math.max(...levels)
  const conditions =
    `${machine}.\n${rounds} rounds of ${seconds} s, ` +
    `and ${closeRounds} more at ${among} connections for goals that compare to a tenth.\n`
  const tables = levels.map((level) => tableOf(level, samples))
  const once = Object.entries(single).map(([name, value]) => `| ${name} | ${value.toFixed(1)} |`)

  return [
    preface(warmSeconds),
    conditions,
    `## Goals\n\n| | measured | goal | |\n|---|---|---|---|\n${goalsOf(levels, samples, single)}\n`,
    ...tables,
    `## Once\n\n| | |\n|---|---|\n${once.join('\n')}\n`,
    notes,
  ].join('\n')
}

function figureOf(samples: Samples, name: string, level: number, figure: keyof Figures): number {
  return median((samples.get(`${name}@${level}`) ?? []).map((each) => each[figure]))
}

/** The figures of all subjects at one number of connections. */
function tableOf(level: number, samples: Samples): string {
  const names = [...new Set([...samples.keys()].map((key) => key.slice(0, key.lastIndexOf('@'))))]
  const columns: readonly [keyof Figures, number][] = [
    ['rps', 0],
    ['p50', 3],
    ['p99', 2],
    ['cpu', 0],
    ['rss', 0],
    ['sessionP50', 1],
    ['errors', 0],
  ]
  const rows = names
    .filter((name) => samples.has(`${name}@${level}`))
    .map((name) => {
      const cells = columns.map(([figure, digits]) =>
        figureOf(samples, name, level, figure).toFixed(digits),
      )
      return `| ${[name, ...cells].join(' | ')} |`
    })

  return [
    `## ${level} connection${level === 1 ? '' : 's'}\n`,
    '| | requests/s | p50 ms | p99 ms | CPU µs/request | RSS MB | new session ms | errors |',
    '|---|---|---|---|---|---|---|---|',
    ...rows,
    '',
  ].join('\n')
}

function goalsOf(levels: Report['levels'], samples: Samples, single: Report['single']): string {
  return targetsOf(levels, samples, single)
    .filter(([, value]) => !Number.isNaN(value))
    .map(([subject, value, sign, goal]) => {
      const isMet = sign === '≤' ? value <= goal : value >= goal
      const verdict = isMet ? 'met' : '**not met**'
      return `| ${subject} | ${value.toFixed(2)} | ${sign} ${goal} | ${verdict} |`
    })
    .join('\n')
}

function targetsOf(
  levels: Report['levels'],
  samples: Samples,
  single: Report['single'],
): [string, number, '≤' | '≥', number][] {
  const of = (name: string, level: number, figure: keyof Figures): number =>
    figureOf(samples, name, level, figure)
  /**
   * The median of the rounds' ratios of one subject to another, because the machine differs from
   * minute to minute.
   */
  const ratio = (name: string, other: string, level: number, figure: keyof Figures): number => {
    const others = samples.get(`${other}@${level}`) ?? []
    // Some subjects have more rounds than others.
    const own = (samples.get(`${name}@${level}`) ?? []).slice(0, others.length)
    return median(own.map((each, round) => each[figure] / (others[round]?.[figure] ?? Number.NaN)))
  }
  const toBetterPeer = (name: string, level: number): number =>
    Math.min(ratio(name, 'mcp-proxy', level, 'rps'), ratio(name, 'supergateway', level, 'rps'))

  return [
    [
      'gateway: CPU per request at 32, ratio to the bare forwarder',
      ratio('gateway', 'bare forwarder', 32, 'cpu'),
      '≤',
      1.25,
    ],
    [
      'gateway: requests/s at 32, ratio to the bare forwarder',
      ratio('gateway', 'bare forwarder', 32, 'rps'),
      '≥',
      0.8,
    ],
    [
      'gateway: p50 at 1 above the bare forwarder, ms',
      of('gateway', 1, 'p50') - of('bare forwarder', 1, 'p50'),
      '≤',
      0.1,
    ],
    [
      'knowing both eras: CPU per request at 32, ratio to passing through without',
      ratio('gateway', 'gateway (eras off)', 32, 'cpu'),
      '≤',
      1.05,
    ],
    [
      'a translated call: CPU per request at 32, ratio to a passed one',
      ratio('gateway (translated)', 'gateway', 32, 'cpu'),
      '≤',
      2,
    ],
    ['bridge: requests/s at 1, ratio to the better peer', toBetterPeer('bridge', 1), '≥', 1.5],
    ['bridge: requests/s at 8, ratio to the better peer', toBetterPeer('bridge', 8), '≥', 2],
    ['bridge: requests/s at 32, ratio to the better peer', toBetterPeer('bridge', 32), '≥', 2],
    ...levels.map((level): [string, number, '≥', number] => [
      `gateway + bridge: requests/s at ${level}, ratio to the better peer`,
      toBetterPeer('gateway + bridge', level),
      '≥',
      1.25,
    ]),
    ['bridge: new session with a warm child, p50 ms', of('bridge', 8, 'sessionP50'), '≤', 10],
    [
      'with access tokens: CPU per request at 32, ratio to development identity',
      ratio('gateway (tokens)', 'gateway', 32, 'cpu'),
      '≤',
      1.1,
    ],
    [
      'a token that is not known yet, CPU ms',
      single['a token that is not known yet, CPU ms'] ?? Number.NaN,
      '≤',
      0.5,
    ],
    [
      '100,000 distinct tokens, MB',
      single['rss of 100,000 distinct tokens, MB'] ?? Number.NaN,
      '≤',
      60,
    ],
    [
      'p50 during a flood of bad tokens, ratio to without',
      single['p50 during a flood of bad tokens, ratio'] ?? Number.NaN,
      '≤',
      2,
    ],
    [
      "a tool's call: CPU per call at 32, ratio to a passed one",
      ratio('tool call', 'gateway', 32, 'cpu'),
      '≤',
      2,
    ],
    [
      "a tool's call among 10,000: CPU per call, ratio to one tool alone",
      ratio('tool call (many tools)', 'tool call', 32, 'cpu'),
      '≤',
      1.1,
    ],
    [
      "a tool's call beside 9,999 hidden: CPU per call, ratio to one tool alone",
      ratio('tool call (many hidden)', 'tool call', 32, 'cpu'),
      '≤',
      1.1,
    ],
    [
      'first page of 10,000 tools, p50 ms',
      single['first page of 10,000 tools, p50 when warm, ms'] ?? Number.NaN,
      '≤',
      20,
    ],
    ['10,000 tools, MB above none', single['rss of 10,000 tools, MB'] ?? Number.NaN, '≤', 60],
    [
      'registering 1,000 tools one after the other, ms',
      single['registering 1,000 tools one after the other, ms'] ?? Number.NaN,
      '≤',
      5000,
    ],
    ...aggregateTargets(ratio, single),
    ['10,000 idle sessions, MB', single['rss of 10,000 idle sessions, MB'] ?? Number.NaN, '≤', 30],
    [
      '100 MB answer, extra MB',
      single['rss while 100 MB stream through, MB'] ?? Number.NaN,
      '≤',
      20,
    ],
    [
      'slow reader of 100 MB, extra MB',
      single['rss while a slow reader takes 2 MB/s, MB'] ?? Number.NaN,
      '≤',
      20,
    ],
    ['start to first answer, ms', single['start to first answer, ms'] ?? Number.NaN, '≤', 1000],
    [
      'SIGTERM to exit when idle, ms',
      single['SIGTERM to exit when idle, ms'] ?? Number.NaN,
      '≤',
      1000,
    ],
  ]
}

/** The goals of virtual servers: ten members with a hundred tools each. */
function aggregateTargets(
  ratio: (name: string, other: string, level: number, figure: keyof Figures) => number,
  single: Report['single'],
): [string, number, '≤' | '≥', number][] {
  const of = (name: string): number => single[name] ?? Number.NaN
  return [
    [
      "a virtual server's call: CPU per call, ratio to the same call at the member",
      ratio('aggregate call', 'member call', 32, 'cpu'),
      '≤',
      1.15,
    ],
    [
      'the same in a legacy session, ratio to a passed one at the member',
      ratio('aggregate call (session)', 'member call (session)', 32, 'cpu'),
      '≤',
      1.15,
    ],
    [
      'full list of ten members, p50, ratio to one member',
      of('full list of ten members, ratio to one'),
      '≤',
      2,
    ],
    [
      'connecting and listing with all members asleep, ms',
      of('connect to first answer with all members asleep, ms'),
      '≤',
      50,
    ],
    ['search over 1,000 tools, p50 ms', of('search over 1,000 tools, p50 ms'), '≤', 5],
    [
      '100 callers with ten views of 1,000 tools, MB',
      of('rss of 100 callers with ten views of 1,000 tools, MB'),
      '≤',
      20,
    ],
    ['bytes of the search list, % fewer', of('bytes of the search list, % fewer'), '≥', 95],
  ]
}
