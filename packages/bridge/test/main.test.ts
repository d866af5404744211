import { spawn, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { processesWith, programs, selfSigned } from '@mcp-gateway/testkit'
import { afterEach, describe, expect, test } from 'vitest'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

interface Program {
  readonly child: ChildProcess
  readonly out: () => string
  readonly err: () => string
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
}

/** The built program, with an environment of its own. */
function run(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Program {
  const child = spawn(process.execPath, [programs.bridge, ...args], {
    env: { PATH: process.env['PATH'], HOME: tmpdir(), ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  let err = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text))
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) =>
    child.once('close', (code, signal) => resolve({ code, signal })),
  )
  closing.push(() => child.kill('SIGKILL') && ended)
  return { child, out: () => out, err: () => err, ended }
}

/** Starts it on a free port and waits until it listens. */
async function start(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<Program & { url: string }> {
  const program = run(args, { PORT: '0', ...environment })
  await expect
    .poll(() => program.out() + (program.child.exitCode ?? ''), { timeout: 30_000 })
    .toMatch(/listens on|\d/)
  const url = /listens on (\S+)/.exec(program.out())?.[1]
  if (url === undefined) throw new Error(`The bridge did not start: ${program.err()}`)
  return { ...program, url }
}

/** A server whose answers hold its environment. */
const environmentTeller = `
  require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const { id } = JSON.parse(line)
    const environment = process.env
    const result = { protocolVersion: '2025-11-25', capabilities: {}, environment }
    if (id !== undefined) console.log(JSON.stringify({ jsonrpc: '2.0', id, result }))
  })`

const json = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
const post = (url: string, message: unknown, session?: string | null): Promise<Response> =>
  fetch(url, {
    method: 'POST',
    headers: { ...json, ...(session == null ? {} : { 'mcp-session-id': session }) },
    body: JSON.stringify({ jsonrpc: '2.0', ...(message as object) }),
  })
const initialize = {
  id: 0,
  method: 'initialize',
  params: {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 't', version: '1' },
  },
}

/** A stdio server, with a tag in its arguments by which it is found again. */
const tagged = (): { readonly tag: string; readonly args: readonly string[] } => {
  const tag = `bridge-main-${randomUUID()}`
  return { tag, args: ['--', process.execPath, programs.echoStdio, tag] }
}
const command = { MCP_COMMAND: 'node' }
const remote = { MCP_PROXY_URL: 'http://localhost:1/mcp' }

describe('a mistake in the settings', () => {
  test.each<[string, readonly string[], Readonly<Record<string, string>>, RegExp]>([
    [
      'nothing is given',
      [],
      {},
      /^MCP_COMMAND: is required, or MCP_PROXY_URL for a server that runs elsewhere$/,
    ],
    [
      'a quote is never closed',
      [],
      { ...command, MCP_ARGS: "a 'b" },
      /^MCP_ARGS: has a quote ' at position 3 that is never closed$/,
    ],
    [
      'a backslash escapes nothing',
      [],
      { ...command, MCP_ARGS: 'a\\' },
      /^MCP_ARGS: ends with a backslash that escapes nothing$/,
    ],
    [
      'a command and an address on the command line',
      ['--url', 'http://h/', '--', 'node'],
      {},
      /^--url and a command cannot be used together$/,
    ],
    [
      'a port that is none',
      ['--port', 'http'],
      command,
      /^MCP_PORT: 'http' is not a whole number from 0 to 65535$/,
    ],
    [
      'a port that is too high',
      [],
      { ...command, PORT: '65536' },
      /^PORT: '65536' is not a whole number from 0 to 65535$/,
    ],
    [
      'a broken port',
      [],
      { ...command, PORT: '80.5' },
      /^PORT: '80\.5' is not a whole number from 0 to 65535$/,
    ],
    [
      'a negative limit',
      [],
      { ...command, MCP_MAX_SESSIONS: '-1' },
      /^MCP_MAX_SESSIONS: '-1' is not a whole number from 1 to 1000000$/,
    ],
    [
      'an isolation that is none',
      [],
      { ...command, MCP_ISOLATION: 'x' },
      /^MCP_ISOLATION: 'x' is none of session, shared$/,
    ],
    [
      'another scheme',
      ['--url', 'ftp://host/x'],
      {},
      /^MCP_PROXY_URL: must be an http:\/\/ or https:\/\/ address$/,
    ],
    [
      'no address',
      [],
      { MCP_PROXY_URL: 'localhost:3001/mcp' },
      /^MCP_PROXY_URL: must be an http:\/\/ or https:\/\/ address$/,
    ],
    [
      'a password in the address',
      [],
      { MCP_PROXY_URL: 'http://a:hunter2@h/' },
      /^MCP_PROXY_URL: must hold no user name or password; /,
    ],
    [
      'header JSON that is broken',
      [],
      { ...remote, MCP_PROXY_HEADERS: '{"Authorization": "Bearer hunter2"' },
      /^MCP_PROXY_HEADERS: is neither a JSON object nor lines of the form Name: value$/,
    ],
    [
      'a header line without a name',
      [],
      { ...remote, MCP_PROXY_HEADERS: 'Bearer hunter2' },
      /^MCP_PROXY_HEADERS: line 1 is not of the form Name: value$/,
    ],
    [
      'a header name that is none',
      [],
      { ...remote, MCP_PROXY_HEADERS: '{"Bearer hunter2":"x"}' },
      /^MCP_PROXY_HEADERS: name 1 is not a header name$/,
    ],
    [
      'a header value with a line break',
      [],
      { ...remote, MCP_PROXY_HEADERS: '{"A":"hunter2\\nB: c"}' },
      /^MCP_PROXY_HEADERS: the value of A is not a header value$/,
    ],
    [
      'a header that is the bridge’s',
      [],
      { ...remote, MCP_PROXY_HEADERS: 'Host: hunter2' },
      /^MCP_PROXY_HEADERS: Host is set by the bridge$/,
    ],
    ['a flag that does not exist', ['--hoist', 'x'], command, /^Unknown option '--hoist'/],
  ])(
    'a mistake (%s) ends the program with 1 and one line without secrets',
    async (_what, args, environment, line) => {
      const program = run(args, environment)
      expect(await program.ended).toEqual({ code: 1, signal: null })
      expect(program.out()).toBe('')
      expect(program.err().endsWith('\n')).toBe(true)
      const lines = program.err().trimEnd().split('\n')
      expect(lines).toHaveLength(1)
      expect(lines[0]).toMatch(line)
      expect(lines[0]).not.toContain('hunter2')
    },
  )

  test('the program reports all mistakes together, a line for each', async () => {
    const program = run([], {
      MCP_COMMAND: 'node',
      MCP_ARGS: '"',
      PORT: 'x',
      MCP_LOG_LEVEL: 'loud',
    })
    expect((await program.ended).code).toBe(1)
    expect(
      program
        .err()
        .trimEnd()
        .split('\n')
        .map((line) => line.split(':')[0])
        .toSorted(),
    ).toEqual(['MCP_ARGS', 'MCP_LOG_LEVEL', 'PORT'])
  })

  test('--help explains, and ends with 0', async () => {
    const program = run(['--help'])
    expect((await program.ended).code).toBe(0)
    expect(program.out()).toMatch(/mcp-bridge \[--host HOST\] \[--port PORT\] --url URL/)
  })
})

describe('the server behind the bridge', () => {
  test('an address in the environment outranks a command there, as in the original', async () => {
    const server = createServer((_request, response) => void response.end('the remote one'))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closing.push(() => server.close() && server.closeAllConnections())
    const { url } = await start([], {
      MCP_COMMAND: 'false',
      MCP_PROXY_URL: `http://localhost:${(server.address() as AddressInfo).port}`,
    })
    expect(await (await post(url, initialize)).text()).toBe('the remote one')
  })

  test('a command on the command line outranks an address in the environment', async () => {
    const { args } = tagged()
    const { url } = await start(args, { MCP_PROXY_URL: 'http://localhost:1/mcp' })
    expect((await post(url, initialize)).status).toBe(200)
  })

  test('words of the command line reach the server as they are', async () => {
    const script = `
      const words = process.argv.slice(1);
      require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
        const { id } = JSON.parse(line);
        const result = { protocolVersion: '2025-11-25', capabilities: {}, words };
        if (id !== undefined) console.log(JSON.stringify({ jsonrpc: '2.0', id, result }));
      })`
    const words = [`it's`, 'a "b"', '\\', '$HOME', '*', ' ', 'é🦊']
    const { url } = await start([
      '--',
      process.execPath,
      '-e',
      script.replaceAll(/\s+/g, ' '),
      ...words,
    ])
    expect(await (await post(url, initialize)).json()).toMatchObject({ result: { words } })
  })

  test('the bridge’s own settings leave LOG_LEVEL, HOST and PORT to the server', async () => {
    const own = { LOG_LEVEL: 'INFO', HOST: 'db.example', PORT: '5432', PYTHONUNBUFFERED: '' }
    const { url } = await start(['--', process.execPath, '-e', environmentTeller], {
      ...own,
      MCP_LOG_LEVEL: 'warn',
      MCP_HOST: '127.0.0.1',
      MCP_PORT: '0',
    })
    const { result } = (await (await post(url, initialize)).json()) as {
      result: { environment: Record<string, string> }
    }
    expect(result.environment).toMatchObject(own)
    for (const name of ['MCP_LOG_LEVEL', 'MCP_HOST', 'MCP_PORT'])
      expect(result.environment).not.toHaveProperty(name)
  })

  test('the server gets the environment, without the variables of the bridge', async () => {
    const { url } = await start(['--', process.execPath, '-e', environmentTeller], {
      MINE: 'x',
      MCP_PROXY_HEADERS: 'A: secret',
      LOG_LEVEL: 'warn',
    })
    const { result } = (await (await post(url, initialize)).json()) as {
      result: { environment: Record<string, string> }
    }
    expect(result.environment).toMatchObject({ MINE: 'x', HOME: tmpdir() })
    expect(result.environment).toMatchObject({ LOG_LEVEL: 'warn', PYTHONUNBUFFERED: '1' })
    for (const name of ['PORT', 'MCP_ARGS', 'MCP_COMMAND', 'MCP_PROXY_HEADERS'])
      expect(result.environment).not.toHaveProperty(name)
  })

  test.each([
    [
      'that does not exist',
      ['/nowhere/no-such-program'],
      "gives up: The command '/nowhere/no-such-program' does not exist.",
    ],
    [
      'that ends at once',
      [process.execPath, '-e', 'console.error("no token"); process.exit(3)'],
      'gives up: The server exited with code 3. It said last: no token',
    ],
  ])(
    'a command %s is tried again, until the program ends and says why',
    async (_what, command, reason) => {
      const program = await start(['--', ...command])
      expect(await program.ended).toEqual({ code: 1, signal: null })
      expect(program.err()).toContain(reason)
    },
  )

  test('a client that waits while the bridge gives up learns why the server ended', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'mcpgw-bridge-'))
    const mark = JSON.stringify(join(folder, 'mark'))
    // The first child never answers. All others end at once.
    const script =
      `try { require('node:fs').mkdirSync(${mark}); process.stdin.resume() } ` +
      'catch { process.exit(3) }'
    const { url } = await start(['--', process.execPath, '-e', script], { MCP_ERAS: 'passthrough' })

    const answer = await post(url, initialize)

    expect(answer.status).toBe(502)
    expect(await answer.json()).toMatchObject({
      error: { message: expect.stringContaining('The server exited with code 3.') },
    })
    rmSync(folder, { recursive: true })
  })

  test('clients and log learn that a command does not exist', async () => {
    // Spares would make it give up soon.
    const program = await start(['--', '/nowhere/no-such-program'], { MCP_WARM_SPARES: '0' })
    for (let turn = 0; turn < 2; turn += 1) {
      const answer = await post(program.url, initialize)
      expect(answer.status).toBe(502)
      expect(await answer.json()).toMatchObject({
        id: 0,
        error: { message: "The command '/nowhere/no-such-program' does not exist." },
      })
    }
    expect((await fetch(new URL('/healthz', program.url))).status).toBe(200)
    expect(program.err()).toContain('/nowhere/no-such-program')
    expect(program.child.exitCode).toBeNull()
  })

  test('NODE_EXTRA_CA_CERTS names the authority of a trusted remote server', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'mcpgw-bridge-'))
    closing.push(() => rmSync(folder, { recursive: true, force: true }))
    writeFileSync(join(folder, 'ca.pem'), selfSigned.cert)
    const server = createHttpsServer(
      selfSigned,
      (_request, response) => void response.end('trusted'),
    )
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closing.push(() => server.close() && server.closeAllConnections())
    const at = `https://localhost:${(server.address() as AddressInfo).port}/mcp`
    const { url } = await start(['--url', at], { NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem') })
    expect(await (await post(url, initialize)).text()).toBe('trusted')
  })
})

describe('the end of the bridge', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)(
    '%s ends the bridge with 0 despite open streams, and no process is left',
    async (signal) => {
      const { tag, args } = tagged()
      const program = await start(args)
      const sessions = await Promise.all(
        [0, 1, 2].map(async () =>
          (await post(program.url, initialize)).headers.get('mcp-session-id'),
        ),
      )
      const streams = sessions.map((session) =>
        fetch(program.url, {
          headers: { accept: 'text/event-stream', 'mcp-session-id': session ?? '' },
        }),
      )
      for (const stream of await Promise.all(streams)) expect(stream.status).toBe(200)
      expect(
        processesWith(tag).filter((pid) => pid !== program.child.pid).length,
      ).toBeGreaterThanOrEqual(3)

      // No client ends its stream, so the program must not wait for clients.
      program.child.kill(signal)
      expect(await program.ended).toEqual({ code: 0, signal: null })
      await expect.poll(() => processesWith(tag)).toEqual([])
    },
  )

  test('SIGTERM ends the bridge with 0 and answers calls of a silent remote server', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closing.push(() => server.close() && server.closeAllConnections())
    const arrived = new Promise((resolve) => server.once('request', resolve))
    const program = await start([
      '--url',
      `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    ])
    const answer = post(program.url, initialize)
    await arrived
    program.child.kill('SIGTERM')
    expect((await answer).status).toBe(502)
    expect(await program.ended).toEqual({ code: 0, signal: null })
  })

  test('SIGKILL leaves no process either', async () => {
    const { tag, args } = tagged()
    const program = await start(args)
    expect((await post(program.url, initialize)).status).toBe(200)
    program.child.kill('SIGKILL')
    await program.ended
    await expect.poll(() => processesWith(tag), { timeout: 5000 }).toEqual([])
  })

  test.each([
    ['with a command', () => tagged()],
    [
      'with an address',
      () => ({ tag: `bridge-main-${randomUUID()}`, args: ['--url', 'http://localhost:1/'] }),
    ],
  ])(
    'a taken port ends the program %s with 1 and one line, and leaves no process',
    async (_what, behind) => {
      const server = createServer()
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      closing.push(() => server.close())
      const { port } = server.address() as AddressInfo
      const { tag, args } = behind()
      const program = run(['--port', String(port), ...args], { LOG_LEVEL: 'silent' })
      expect(await program.ended).toEqual({ code: 1, signal: null })
      expect(program.err()).toBe(
        `mcp-bridge cannot listen: listen EADDRINUSE: address already in use 127.0.0.1:${port}\n`,
      )
      await expect.poll(() => processesWith(tag)).toEqual([])
    },
  )

  test('an address that is not of this machine ends the program with 1 and one line', async () => {
    const program = run(['--host', '192.0.2.1', '--port', '0', '--url', 'http://localhost:1/'])
    expect((await program.ended).code).toBe(1)
    expect(program.err()).toMatch(
      /^mcp-bridge cannot listen: listen EADDRNOTAVAIL: [^\n]*192\.0\.2\.1[^\n]*\n$/,
    )
  })
})
