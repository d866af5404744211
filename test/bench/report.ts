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

What the gateway and the bridge cost, beside a plain forwarder and beside their peers. The forwarder is simple, not the fastest
that Node.js allows: a tuned one costs less, so its ratios are no distance from a minimum. \`npm run bench\` measures all of it in one run on one machine and writes
this file but for the section on Kubernetes (in about 25 minutes; \`npm run bench -- --quick\` in three minutes; \`--only gateway,"bare forwarder"\` for a part, which writes nothing).

How: every subject is a process of its own; all of them are started, and warmed, before anything is measured: 30,000 calls over 32 connections, or as many as it answers in ${warmSeconds} s. By then V8 has compiled
what a call passes through, and its processor time per call hardly falls any more (the first second after a start costs three to five times as much). Each connection has its own MCP session, settled before the clock starts, and sends one \`tools/call\` after another, each with arguments of its own, to a very fast echo server;
a sample of the answers is checked. New sessions are timed one by one (at 8 connections with 300 ms between them, so that a bridge has its spare child warm). Subjects take turns of a second;
each figure is the median of the rounds, and each ratio the median of the rounds' ratios, because other guests of the machine's host make it another machine from minute to minute: the same process costs 85 µs a call in one round and 120 µs in the next.
32 connections are measured in each round, fewer in each third; subjects whose goals leave a tenth of room take more turns among themselves, as one process differs from itself by more than that from one second to the next. Processor time is that of the proxy's own process (for gateway + bridge, of both), from \`/proc\`;
load generator and echo server run on the same machine, so requests per second compare only within one run. Ratios hold; absolute figures are this machine's.
The gateway runs with its defaults: access log on, Host check, authorization and session unsealing on every request.

Tokens: \`gateway (tokens)\` is the gateway with access tokens of an OIDC issuer (RS256, 1 kB), which each request carries and which is verified once. A token that is not known yet is measured as the processor time of 2,000 requests with tokens of their own above that of 2,000 with one. The flood comes over as many
connections as the good calls, as fast as it is answered, from the same address, each request with a bad token of its own.

Starting and ending are the medians of five.

Tools: \`tool call\` is a \`tools/call\` at \`/mcp\` by a client of 2026-07-28 to a tool that is the echo server's plain HTTP side; \`(session)\` the same by a client of 2025-11-25. 10,000 tools are registered through \`POST /tools\`, once, by somebody else for a role
(definitions of 1 kB, served elsewhere, so that nothing has to run for them; what 1,000 take is the median of the ten thousands); each subject with many tools starts with a copy of that data folder. \`(many tools)\` is a caller who has the role, \`(many hidden)\` one who has not and sees one tool.
`

const notes = `## Where the time goes

**gateway + bridge at one connection** is bound by latency, not by work: a call crosses four processes one after another (client, gateway, bridge, server child), and at one connection nothing overlaps.
A profile of the gateway there (\`--cpu-prof\`, 2,650 calls/s) shows it idle for two thirds of the time; of the rest a quarter is the \`writev\` of two small messages, each of which also wakes the
next process, and nothing else is above 2 %. System calls are the fewest there can be: two writes, two reads and two waits for a call. The bridge alone answers in half the time of the better peer; what the gateway adds
beside is one hop, as much as a bare forwarder adds. Tried, with several interleaved runs each: collecting garbage on one thread and smaller or larger young generations (no difference beyond the noise of 5 %), no
helper threads (\`--v8-pool-size=0\`: about 3 %), a Unix socket between gateway and bridge (6 %: 2,756 instead of 2,599 calls/s; kept for when the bridge is to be out of reach of other local users too).

**Translated calls** make more garbage than passed ones. What made it dear was a chain: V8 keeps the old table of a Map that it has rebuilt, and through it every later table with what each held, until a full collection; requests that
come and go in Maps so survived for long (a third of the processor time of a translated call). They are held in plain tables now. The engine alone (\`node --expose-gc --import tsx test/bench/engine.ts\`) does 129,000 messages/s of 1 kB from the modern to the legacy era and 195,000 in the other direction
(goal: 50,000); 1,000 parked calls take 3.1 MB (goal: 50).

**Registering a tool** takes 2.5 to 3.5 ms beyond the client's own: the transaction about 1 ms, of which the \`fsync\` is a third to a half; compiling the schema in a thread of its own 0.6 ms; then routing, validation, the audit record and the reconciler's look at what is new. It was twice that. Counting what an owner holds took as
long as it held things (0.7 ms at 5,000 of them), and is kept beside by triggers now. Rows of kilobytes in a table without row ids made a tree eight levels deep, whose every level was read from a page of its own. Ajv optimizes its code for a quarter of its time, which V8 does by itself.

**A token** that is known costs its comparison with the one that its connection showed last, and a kilobyte more to receive: 2 to 3 µs a call. Looking for an API key in it by an expression took as long again.

**Large answers** leave dead buffers behind, of which V8 sees only the heads: it let 32 MB gather. The gateway collects its young generation after every 8 MB that it passed on, which takes about a millisecond.
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
  const of = (name: string, level: number, figure: keyof Figures): number =>
    median((samples.get(`${name}@${level}`) ?? []).map((each) => each[figure]))
  const names = [...new Set([...samples.keys()].map((key) => key.slice(0, key.lastIndexOf('@'))))]
  const tables = levels.map((level) => {
    const rows = names
      .filter((name) => samples.has(`${name}@${level}`))
      .map(
        (name) =>
          `| ${name} | ${of(name, level, 'rps').toFixed(0)} | ${of(name, level, 'p50').toFixed(3)} | ${of(name, level, 'p99').toFixed(2)} | ${of(name, level, 'cpu').toFixed(0)} | ${of(name, level, 'rss').toFixed(0)} | ${of(name, level, 'sessionP50').toFixed(1)} | ${of(name, level, 'errors')} |`,
      )
    return `## ${level} connection${level === 1 ? '' : 's'}\n\n| | requests/s | p50 ms | p99 ms | CPU µs/request | RSS MB | new session ms | errors |\n|---|---|---|---|---|---|---|---|\n${rows.join('\n')}\n`
  })
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
  const targets: [string, number, '≤' | '≥', number][] = [
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
  const goals = targets
    .filter(([, value]) => !Number.isNaN(value))
    .map(
      ([what, value, sign, goal]) =>
        `| ${what} | ${value.toFixed(2)} | ${sign} ${goal} | ${(sign === '≤' ? value <= goal : value >= goal) ? 'met' : '**not met**'} |`,
    )
  return `${preface(warmSeconds)}\n${machine}. ${rounds} rounds of ${seconds} s, and ${closeRounds} more at ${Math.max(...levels)} connections of what is compared to a tenth.\n\n## Goals\n\n| | measured | goal | |\n|---|---|---|---|\n${goals.join('\n')}\n\n${tables.join('\n')}\n## Once\n\n| | |\n|---|---|\n${Object.entries(
    single,
  )
    .map(([name, value]) => `| ${name} | ${value.toFixed(1)} |`)
    .join('\n')}\n\n${notes}`
}
