import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  KubernetesApi,
  KubernetesError,
  type KubernetesObject,
} from '../../src/runtime/kubernetes/api/api.ts'
import { ListWatch } from '../../src/runtime/kubernetes/api/list-watch.ts'

// A server by hand for things that a real API server does not do on command. test/kubernetes shows
// all else on a real server.
const signal = new AbortController().signal
const folder = mkdtempSync(join(tmpdir(), 'mcpgw-kubeconfig-'))
const closing: AsyncDisposable[] = []
let server: Server
let answer: (request: IncomingMessage, response: ServerResponse) => void

beforeEach(async () => {
  server = createServer((request, response) => answer(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterEach(async () => {
  for (const part of closing.splice(0)) await part[Symbol.asyncDispose]()
  server.closeAllConnections()
  server.close()
})
afterAll(() => rmSync(folder, { recursive: true }))

function kubeconfig(user: object): string {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const file = join(mkdtempSync(join(folder, 'test-')), 'kubeconfig')
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster: { server: url, 'insecure-skip-tls-verify': true } }],
    users: [{ name: 'test', user }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    'current-context': 'test',
  }
  writeFileSync(file, JSON.stringify(config))
  return file
}

async function open(user: object = { token: 'a-token' }): Promise<KubernetesApi> {
  const api = await KubernetesApi.open({ kubeconfig: kubeconfig(user) })
  closing.push(api)
  return api
}

const json = (response: ServerResponse, body: unknown, status = 200): unknown =>
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))

describe('requests to the API server', () => {
  test('the API server gets the token of the kubeconfig', async () => {
    answer = ({ headers }, response) => json(response, { authorization: headers.authorization })
    expect(await (await open()).json('GET', '/version', signal)).toEqual({
      authorization: 'Bearer a-token',
    })
  })

  test('the API server gets a program’s token, and a new one after it expires', async () => {
    const counter = join(mkdtempSync(join(folder, 'test-')), 'count')
    const script =
      `echo >> ${counter}; printf '{"apiVersion":"client.authentication.k8s.io/v1",` +
      '"kind":"ExecCredential","status":{"token":"token-%s",' +
      `"expirationTimestamp":"2000-01-01T00:00:00Z"}}' "$(wc -l < ${counter})"`
    const exec = {
      apiVersion: 'client.authentication.k8s.io/v1',
      command: 'sh',
      args: ['-c', script],
      interactiveMode: 'Never',
    }
    answer = ({ headers }, response) => json(response, headers.authorization)
    const api = await open({ exec })
    const first = await api.json<string>('GET', '/version', signal)
    expect(first).toMatch(/^Bearer token-\d+$/)
    expect(await api.json('GET', '/version', signal)).not.toBe(first)
  })

  test('the error quotes the API server’s refusal, also where it is no JSON', async () => {
    answer = (_request, response) => response.writeHead(502).end('a proxy is unwell')
    await expect((await open()).json('GET', '/version', signal)).rejects.toThrow(
      new KubernetesError(502, { message: 'a proxy is unwell' }),
    )
    answer = (_request, response) =>
      json(
        response,
        { kind: 'Status', message: 'etcdserver: request timed out', reason: 'Timeout', code: 500 },
        500,
      )
    await expect((await open()).json('GET', '/version', signal)).rejects.toMatchObject({
      status: 500,
      reason: 'Timeout',
    })
  })

  test('the error says what to do about an unknown caller and a missing right', async () => {
    const refusal = async (code: number, reason: string, message: string): Promise<string> => {
      answer = (_request, response) =>
        json(response, { kind: 'Status', message, reason, code }, code)
      return (await open())
        .json('GET', '/version', signal)
        .then(String, ({ message: said }: Error) => said)
    }
    expect(await refusal(401, 'Unauthorized', 'Unauthorized')).toMatch(/^Unauthorized .*kubeconfig/)
    const missing =
      'pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "y"'
    expect(await refusal(403, 'Forbidden', missing)).toMatch(
      /cannot list resource "pods".*deploy\/kubernetes\/base\/rbac\.yaml/,
    )
    const quota =
      'statefulsets.apps "x" is forbidden: exceeded quota: tight,' +
      ' requested: count/statefulsets.apps=1'
    expect(await refusal(403, 'Forbidden', quota)).toBe(quota)
  })

  test('the gateway looks for no API server where there is no kubeconfig', async () => {
    vi.stubEnv('KUBECONFIG', '')
    vi.stubEnv('HOME', folder)
    await expect(KubernetesApi.open({})).rejects.toThrow(/There is no kubeconfig/)
    vi.unstubAllEnvs()
  })

  test('the error about an unreachable API server names it and the reason', async () => {
    const api = await open()
    const { port } = server.address() as AddressInfo
    server.close()
    await expect(api.json('GET', '/version', signal)).rejects.toThrow(
      new RegExp(`The API server at http://127.0.0.1:${port} cannot be reached: .*ECONNREFUSED`),
    )
  })

  test('a watch that falls silent midway is asked again from where it was', async () => {
    const asked: (string | null)[] = []
    const item = (name: string, resourceVersion: string): KubernetesObject => ({
      metadata: { name, uid: name, resourceVersion },
    })
    answer = (request, response) => {
      const { searchParams } = new URL(request.url ?? '', 'http://x')
      if (searchParams.get('watch') === null)
        return json(response, { metadata: { resourceVersion: '10' }, items: [item('a', '1')] })
      response.writeHead(200, { 'content-type': 'application/json' })
      // Each watch gets one change, and then nothing, though the connection stays open.
      const from = searchParams.get('resourceVersion')
      asked.push(from)
      const version = Number(from) + 1
      return response.write(
        `${JSON.stringify({ type: 'MODIFIED', object: item('a', String(version)) })}\n`,
      )
    }
    const seen: (string | undefined)[] = []
    closing.unshift(
      await ListWatch.open<KubernetesObject>({
        api: await open(),
        path: '/things',
        log: pino({ level: 'silent' }),
        silenceMs: 1000,
        changed: (_before, now) => seen.push(now?.metadata?.resourceVersion),
      }),
    )
    await expect.poll(() => seen.slice(0, 4), { timeout: 20_000 }).toEqual(['1', '11', '12', '13'])
    // A pause of the machine may make one watch seem silent before its change is read.
    expect([...new Set(asked)].slice(0, 3)).toEqual(['10', '11', '12'])
  })

  test('lists come in pages, each by the token of the one before', async () => {
    const pages: Record<string, unknown> = {
      null: {
        metadata: { continue: 'more', resourceVersion: '5' },
        items: [{ metadata: { name: 'a' } }],
      },
      more: { metadata: { resourceVersion: '5' }, items: null },
    }
    answer = (request, response) =>
      json(
        response,
        pages[String(new URL(request.url ?? '', 'http://x').searchParams.get('continue'))],
      )
    expect(await (await open()).list('/things', signal)).toEqual({
      items: [{ metadata: { name: 'a' } }],
      version: '5',
    })
  })
})
