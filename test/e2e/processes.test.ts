import { setTimeout as sleep } from 'node:timers/promises'
import { familyOf, GatewayProcess, killAll, processesWith, programs } from '@mcp-gateway/testkit'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

let gateway: GatewayProcess
/** The tag is in the command line of every process of the test's adapters. It finds them again. */
let tag = ''
let count = 0

beforeEach(async () => {
  tag = `tag-${process.pid}-${(count += 1)}`
  gateway = await start()
})
afterEach(() => gateway[Symbol.asyncDispose]())

function start(more: object = {}): Promise<GatewayProcess> {
  return GatewayProcess.start({
    config: {
      runtime: {
        stopGraceSeconds: 1,
        ...more,
        backoff: { firstSeconds: 0.1, maxSeconds: 1 },
        images: {
          echo: { command: [process.execPath, programs.echoHttp, tag] },
          // Ignores SIGTERM, and leaves a grandchild in another session.
          stubborn: {
            command: [
              process.execPath,
              '-e',
              `process.on('SIGTERM', () => {}); require('child_process').spawn('setsid',` +
                ` ['sh', '-c', 'trap "" TERM; while :; do sleep 1; done', '${tag}'],` +
                ` { stdio: 'ignore' }).unref(); require('http').createServer((q,` +
                ' r) => r.end()).listen(process.env.PORT)',
              tag,
            ],
          },
          missing: { command: ['/no/such/program', tag] },
          failing: {
            command: [process.execPath, '-e', 'console.error("out of luck"); process.exit(3)', tag],
          },
          silent: { command: [process.execPath, '-e', 'setInterval(() => {}, 1000)', tag] },
        },
      },
    },
  })
}

const register = (
  name: string,
  imageName: string,
  more: object = {},
): Promise<{ status: number }> =>
  gateway.api('POST', '/adapters', { name, imageName, imageVersion: '1.0.0', ...more })
const healthy = ({ replicaStatus }: { replicaStatus: string }): boolean =>
  replicaStatus === 'Healthy'

async function degraded(imageName: string, reason: string, message: RegExp): Promise<void> {
  await register('broken', imageName)
  const status = await gateway.untilStatus(
    'broken',
    ({ conditions }) =>
      conditions.some((condition) => condition.type === 'Ready' && condition.reason === reason),
    20_000,
  )
  expect(status.conditions.find(({ type }) => type === 'Ready')?.message).toMatch(message)
  expect(status.replicaStatus).toBe('Degraded: 0/1 ready')
}

async function untilNoneLeft(): Promise<void> {
  await expect.poll(() => processesWith(tag)).toEqual([])
}

async function initialize(name: string): Promise<Response> {
  return fetch(`${gateway.origin}/adapters/${name}/mcp`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 0,
      method: 'initialize',
      params: {
        protocolVersion: '2025-11-25',
        capabilities: {},
        clientInfo: { name: 'e2e', version: '1' },
      },
    }),
  })
}

describe('a bridged server that never works', () => {
  test('a failing server makes its adapter degraded, with the reason, until mended', async () => {
    await register('broken', 'mcp-proxy', {
      environmentVariables: { MCP_COMMAND: '/no/such/server' },
    })
    const status = await gateway.untilStatus('broken', ({ conditions }) =>
      conditions.some(({ message }) => message.includes('/no/such/server')),
    )
    expect(status.replicaStatus).toMatch(/^Degraded/)
    const environmentVariables = {
      MCP_COMMAND: process.execPath,
      MCP_ARGS: `'${programs.echoStdio}'`,
    }
    expect((await gateway.api('PATCH', '/adapters/broken', { environmentVariables })).status).toBe(
      200,
    )
    await gateway.untilStatus('broken', healthy)
    expect((await initialize('broken')).status).toBe(200)
    await gateway.api('DELETE', '/adapters/broken')
  })

  test('a missing image is 503 at once, with the reason', async () => {
    await register('imageless', 'no-such-image')
    await gateway.untilStatus('imageless', ({ conditions }) =>
      conditions.some(({ reason }) => reason === 'ImageNotFound'),
    )
    const answer = await initialize('imageless')
    expect([answer.status, await answer.text()]).toEqual([
      503,
      expect.stringContaining('ImageNotFound'),
    ])
    await gateway.api('DELETE', '/adapters/imageless')
  })
})

describe('processes', () => {
  test('SIGTERM leaves no process, not even of a server that ignores it and forks', async () => {
    await register('stubborn', 'stubborn')
    await gateway.untilStatus('stubborn', healthy)
    expect(processesWith(tag).length).toBeGreaterThan(1)
    expect(await gateway.end('SIGTERM')).toBe(0)
    await untilNoneLeft()
  })

  test('kill -9 of the gateway leaves no process, and the next start runs all again', async () => {
    await register('stubborn', 'stubborn')
    await register('echo', 'echo', { replicaCount: 2 })
    await gateway.untilStatus('stubborn', healthy)
    await gateway.untilStatus('echo', healthy)
    await gateway.end('SIGKILL')
    await untilNoneLeft()
    await gateway.startAgain()
    await gateway.untilStatus('echo', healthy)
    await gateway.untilStatus('stubborn', healthy)
  })

  test('a deletion leaves no process of its adapter', async () => {
    await register('stubborn', 'stubborn')
    await gateway.untilStatus('stubborn', healthy)
    expect((await gateway.api('DELETE', '/adapters/stubborn')).status).toBe(204)
    await untilNoneLeft()
    expect((await gateway.api('GET', '/adapters/stubborn/status')).status).toBe(404)
  })

  test('a stdio server that ignores SIGTERM ends with its session and its bridge', async () => {
    await register('bridged', 'mcp-proxy', {
      environmentVariables: {
        MCP_COMMAND: process.execPath,
        MCP_ARGS: `'${programs.echoStdio}' stubborn ${tag}`,
      },
    })
    const session = (await initialize('bridged')).headers.get('mcp-session-id') ?? ''
    await expect.poll(() => processesWith(tag).length).toBe(2)
    await fetch(`${gateway.origin}/adapters/bridged/mcp`, {
      method: 'DELETE',
      headers: { 'mcp-session-id': session },
    })
    await expect.poll(() => processesWith(tag).length).toBe(1)
    const before = processesWith(tag)
    // Other tests run bridges on this machine at the same time.
    const ours = familyOf(gateway.pid)
    killAll(processesWith(programs.bridge).filter((pid) => ours.includes(pid)))
    await expect.poll(() => processesWith(tag).some((pid) => before.includes(pid))).toBe(false)
    await expect.poll(async () => (await initialize('bridged')).status).toBe(200)
  })

  test('a killed replica comes back, and the status says why it restarted', async () => {
    await register('echo', 'echo')
    await gateway.untilStatus('echo', healthy)
    killAll(processesWith(tag))
    const status = await gateway.untilStatus(
      'echo',
      ({ replicas, replicaStatus }) => replicaStatus === 'Healthy' && replicas[0]?.restarts === 1,
    )
    expect(status.replicas[0]?.lastExit).toMatchObject({ signal: 'SIGKILL' })
    expect((await initialize('echo')).status).toBe(200)
  })

  test.each([
    ['missing', 'CommandNotFound', /does not exist/],
    ['failing', 'Exited', /code 3.*out of luck/],
    ['nothing-of-this-name', 'ImageNotFound', /Known images: .*mcp-proxy/],
  ])('the status of image %s says %s', async (imageName, reason, message) => {
    await degraded(imageName, reason, message)
  })

  test('the status of an image that never listens says StartTimeout', async () => {
    await gateway[Symbol.asyncDispose]()
    // This is far too short for other tests.
    gateway = await start({ startTimeoutSeconds: 1 })
    await degraded('silent', 'StartTimeout', /did not listen/)
  })

  test('a changed environment rolls replica by replica under requests', async () => {
    await register('echo', 'echo', { replicaCount: 3 })
    await gateway.untilStatus('echo', healthy)
    const before = processesWith(tag)
    let over = false
    const statuses: number[] = []
    const traffic = (async () => {
      while (!over) statuses.push((await initialize('echo')).status)
    })()
    expect(
      (await gateway.api('PATCH', '/adapters/echo', { environmentVariables: { NEW: 'value' } }))
        .status,
    ).toBe(200)
    await gateway.untilStatus(
      'echo',
      ({ replicaStatus, observedGeneration }) =>
        replicaStatus === 'Healthy' && observedGeneration === 2,
    )
    over = true
    await traffic
    await expect.poll(() => processesWith(tag).filter((pid) => before.includes(pid))).toEqual([])
    expect(new Set(statuses)).toEqual(new Set([200]))
  })

  test('a changed description restarts nothing', async () => {
    await register('echo', 'echo')
    await gateway.untilStatus('echo', healthy)
    const before = processesWith(tag)
    await gateway.api('PATCH', '/adapters/echo', { description: 'new', requiredRoles: ['a'] })
    await sleep(300)
    expect(processesWith(tag)).toEqual(before)
  })

  test('a second gateway on the same data folder is refused', async () => {
    await expect(GatewayProcess.start({ dataDir: gateway.dataDir })).rejects.toThrow(
      /Another gateway \(process \d+\) uses the data folder/,
    )
  })
})

describe('logs', () => {
  test('the logs are those of the replica, and of its previous instance', async () => {
    await register('failing', 'failing')
    await gateway.untilStatus('failing', ({ replicas }) => (replicas[0]?.restarts ?? 0) >= 2)
    const { body, headers } = await gateway.api(
      'GET',
      '/adapters/failing/logs?previous=true&tail=1',
    )
    expect(headers.get('content-type')).toMatch(/^text\/plain/)
    expect(body).toBe('out of luck\n')
    expect((await gateway.api('GET', '/adapters/failing/logs?instance=7')).status).toBe(404)
    expect(
      (await gateway.api('GET', '/adapters/failing/logs', undefined, { 'x-dev-userid': 'other' }))
        .status,
    ).toBe(404)
  })

  test('the logs can be followed', async () => {
    await register('bridged', 'mcp-proxy', {
      environmentVariables: {
        MCP_COMMAND: process.execPath,
        MCP_ARGS: `'${programs.echoStdio}' garbage ${tag}`,
      },
    })
    expect((await initialize('bridged')).status).toBe(200)
    const response = await fetch(`${gateway.origin}/adapters/bridged/logs?follow=true&tail=100`)
    const reader = response.body?.getReader()
    let text = ''
    while (!text.includes('that is no message')) {
      const { value, done } = (await reader?.read()) ?? { done: true, value: undefined }
      if (done) break
      text += new TextDecoder().decode(value)
    }
    expect(text).toContain('Welcome to a server that prints where it should not')
    await reader?.cancel()
  })
})
