import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import {
  Client as ModernClient,
  StreamableHTTPClientTransport as ModernTransport,
} from '@modelcontextprotocol/client'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const registry = process.env['REGISTRY'] ?? ''
const overlay = join(root, 'deploy/kubernetes/overlays/local')

const run = promisify(execFile)
const kubectl = async (...args: string[]): Promise<string> =>
  (await run('kubectl', args, { maxBuffer: 2 ** 26 })).stdout.trim()
const inNamespace = (...args: string[]): Promise<string> =>
  kubectl('--namespace', 'adapter', ...args)
const rolledOut = async (): Promise<void> => {
  for (const name of ['mcpgateway', 'toolgateway'])
    await inNamespace('rollout', 'status', `statefulset/${name}`, '--timeout=180s')
}

/** Applies the overlay unchanged, except for another name of the registry. */
async function apply(): Promise<void> {
  if (registry === 'localhost:5000') return void (await kubectl('apply', '-k', overlay))
  const folder = mkdtempSync(join(root, 'deploy/kubernetes/overlays/renamed-'))
  try {
    const environment = { name: 'MCPGW_RUNTIME_KUBERNETES_REGISTRY', value: registry }
    const kustomization = {
      resources: [relative(folder, overlay)],
      images: ['mcp-gateway', 'tool-gateway'].map((name) => ({
        name: `localhost:5000/${name}`,
        newName: `${registry}/${name}`,
      })),
      patches: [
        {
          target: { kind: 'StatefulSet', name: 'mcpgateway' },
          patch: JSON.stringify([
            { op: 'add', path: '/spec/template/spec/containers/0/env/-', value: environment },
          ]),
        },
      ],
    }
    writeFileSync(join(folder, 'kustomization.yaml'), JSON.stringify(kustomization))
    await kubectl('apply', '-k', folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** `kubectl port-forward svc/mcpgateway-service`, at a free port of this machine. */
class Forwarding implements Disposable {
  readonly origin: string
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, origin: string) {
    this.#child = child
    this.origin = origin
  }

  static async open(): Promise<Forwarding> {
    const child = spawn('kubectl', [
      '--namespace',
      'adapter',
      'port-forward',
      'svc/mcpgateway-service',
      ':8000',
    ])
    const port = await new Promise<string>((resolve, reject) => {
      let told = ''
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (text: string) => {
          told += text
          const found = /Forwarding from 127\.0\.0\.1:(\d+)/.exec(told)?.[1]
          if (found !== undefined) resolve(found)
        })
      child.once('exit', () => reject(new Error(`kubectl port-forward ended: ${told}`)))
    })
    return new Forwarding(child, `http://localhost:${port}`)
  }

  [Symbol.dispose](): void {
    this.#child.kill()
  }
}

let forwarding: Forwarding
async function api(
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; body: unknown }> {
  const headers = body === undefined ? {} : { 'content-type': 'application/json' }
  const response = await fetch(forwarding.origin + path, {
    method,
    headers,
    body: body === undefined ? null : JSON.stringify(body),
  })
  const text = await response.text()
  return {
    status: response.status,
    body: /json/.test(response.headers.get('content-type') ?? '') ? JSON.parse(text) : text,
  }
}
const healthy = (path: string, more: object = {}): Promise<void> =>
  expect
    .poll(async () => (await api('GET', `${path}/status`)).body, {
      timeout: 120_000,
      interval: 250,
    })
    .toMatchObject({ replicaStatus: 'Healthy', ...more })

/** Both official clients. The program of a bridge may need a download first. */
const patience = { timeout: 170_000 }
async function legacy(path: string): Promise<Client> {
  const client = new Client({ name: 'legacy', version: '1.0.0' })
  const transport = new StreamableHTTPClientTransport(new URL(forwarding.origin + path))
  await client.connect(transport as Parameters<Client['connect']>[0], patience)
  return client
}
async function modern(path: string): Promise<ModernClient> {
  const client = new ModernClient(
    { name: 'modern', version: '1.0.0' },
    { versionNegotiation: { mode: 'auto' } },
  )
  await client.connect(new ModernTransport(new URL(forwarding.origin + path)), patience)
  return client
}
interface Caller {
  readonly tools: readonly string[]
  /** The first text of the answer. */
  readonly call: (name: string, args: Record<string, unknown>) => Promise<string>
}
async function eachCaller(path: string, look: (caller: Caller) => Promise<void>): Promise<void> {
  for (const client of [await legacy(path), await modern(path)]) {
    const tools = (await client.listTools()).tools.map(({ name }) => name)
    const call: Caller['call'] = async (name, args) =>
      ((await client.callTool({ name, arguments: args })) as { content: { text: string }[] })
        .content[0]?.text ?? ''
    await look({ tools, call })
    await client.close()
  }
}

/** Gives the packages in the SBOM of a pod's image. */
async function packagesIn(pod: string): Promise<string[]> {
  const names =
    "console.log(JSON.stringify(require('/app/sbom.json').components.map(({ name }) => name)))"
  return JSON.parse(await inNamespace('exec', pod, '--', 'node', '-e', names)) as string[]
}

const mcpExample = {
  name: 'mcp-example',
  imageName: 'mcp-example',
  imageVersion: '1.0.0',
  description: 'test',
}
const weather = {
  name: 'weather',
  imageName: 'weather-tool',
  imageVersion: '1.0.0',
  description: 'Weather tool for getting current weather information',
  toolDefinition: {
    tool: {
      name: 'weather',
      title: 'Weather Information',
      description: 'Gets the current weather for a specified location.',
      type: 'http',
      inputSchema: {
        type: 'object',
        properties: {
          location: { type: 'string', description: 'The city and state, e.g. San Francisco, CA' },
        },
        required: ['location'],
      },
    },
    port: 8000,
  },
}
const bridged = (name: string, environmentVariables: Record<string, string>): object => ({
  name,
  imageName: 'mcp-proxy',
  imageVersion: '1.0.0',
  environmentVariables,
})

beforeAll(async () => {
  const phase = await kubectl(
    'get',
    'namespace',
    'adapter',
    '--ignore-not-found',
    '--output',
    'jsonpath={.status.phase}',
  )
  if (phase === 'Active')
    throw new Error(
      'There is a namespace adapter on this cluster, and this test deletes it. Delete it,' +
        ' or name a disposable cluster by KUBECONFIG.',
    )
  if (phase !== '') await kubectl('wait', '--for=delete', 'namespace/adapter', '--timeout=120s')
  await apply()
  await rolledOut()
  forwarding = await Forwarding.open()
})
afterAll(async () => {
  forwarding[Symbol.dispose]()
  await kubectl('delete', 'namespace', 'adapter', '--timeout=150s')
})

describe('the local deployment', () => {
  test('clients of both eras use an adapter, with status and logs, and PUT rolls it', async () => {
    expect((await api('POST', '/adapters', mcpExample)).status).toBe(201)
    // The call comes before the adapter is ready, and waits.
    await eachCaller('/adapters/mcp-example/mcp', async ({ tools, call }) => {
      expect(tools).toEqual(['add', 'where_am_i'])
      expect(await call('add', { a: 2, b: 40 })).toBe('42')
    })
    await healthy('/adapters/mcp-example', { readyReplicas: 1, image: 'mcp-example:1.0.0' })
    await expect
      .poll(async () => (await api('GET', '/adapters/mcp-example/logs')).body)
      .toContain('mcp-example listens on 0.0.0.0:8000')

    const uid = (): Promise<string> =>
      inNamespace('get', 'pod', 'mcp-example-0', '--output', 'jsonpath={.metadata.uid}')
    const before = await uid()
    const changed = { ...mcpExample, environmentVariables: { GREETING: 'hello' } }
    expect((await api('PUT', '/adapters/mcp-example', changed)).status).toBe(200)
    await healthy('/adapters/mcp-example', { generation: 2, updatedReplicas: 1 })
    expect(await uid()).not.toBe(before)
  })

  test('clients of both eras find and call a tool through the tool gateways', async () => {
    expect((await api('POST', '/tools', weather)).status).toBe(201)
    await healthy('/tools/weather')
    await eachCaller('/mcp', async ({ tools, call }) => {
      expect(tools).toEqual(['weather'])
      expect(JSON.parse(await call('weather', { location: 'San Francisco, CA' }))).toMatchObject({
        location: 'San Francisco, CA',
      })
    })
    await expect
      .poll(() =>
        inNamespace('logs', '--selector', 'app.kubernetes.io/component=tool-gateway', '--tail=-1'),
      )
      .toContain('"path":"/mcp"')
    await expect
      .poll(async () => (await api('GET', '/tools/weather/logs')).body)
      .toContain('listens')
    expect((await api('DELETE', '/tools/weather')).status).toBe(204)
  })

  test('adapters and sessions survive the replacement of the gateway', async () => {
    const client = await legacy('/adapters/mcp-example/mcp')
    await inNamespace('rollout', 'restart', 'statefulset/mcpgateway')
    await rolledOut()
    forwarding[Symbol.dispose]()
    const { sessionId } = client.transport as StreamableHTTPClientTransport
    forwarding = await Forwarding.open()
    const headers = {
      accept: 'application/json, text/event-stream',
      'content-type': 'application/json',
      'mcp-session-id': sessionId ?? '',
    }
    const body = JSON.stringify({ jsonrpc: '2.0', id: 'later', method: 'tools/list' })
    const answer = await fetch(`${forwarding.origin}/adapters/mcp-example/mcp`, {
      method: 'POST',
      headers,
      body,
    })
    expect([answer.status, await answer.text()]).toEqual([
      200,
      expect.stringContaining('where_am_i'),
    ])
    await client.close()
  })

  test('the bridge runs servers of npx and uvx, and one that is elsewhere', async () => {
    const servers = {
      everything: { MCP_COMMAND: 'npx', MCP_ARGS: '-y @modelcontextprotocol/server-everything' },
      time: { MCP_COMMAND: 'uvx', MCP_ARGS: 'mcp-server-time --local-timezone UTC' },
      // It is large and made with .NET, which needs more of the system than Node.js.
      azure: { MCP_COMMAND: 'npx', MCP_ARGS: '-y @azure/mcp@latest server start' },
      // A name of one label. The original refuses it.
      remote: { MCP_PROXY_URL: 'http://mcp-example-service:8000/mcp' },
    }
    for (const [name, environment] of Object.entries(servers))
      expect((await api('POST', '/adapters', bridged(name, environment))).status).toBe(201)

    await eachCaller('/adapters/remote/mcp', async ({ call }) =>
      expect(await call('add', { a: 1, b: 2 })).toBe('3'),
    )
    const starters = ['node', 'npm', 'npx', 'uv', 'uvx', 'python3', 'git', 'tini']
    const all = starters.join(' ')
    const look = `id -u; for each in ${all}; do command -v $each | sed 's,.*/,,'; done`
    expect((await inNamespace('exec', 'remote-0', '--', 'sh', '-c', look)).split('\n')).toEqual([
      '1100',
      ...starters,
    ])
    for (const pod of ['remote-0', 'mcpgateway-0', 'toolgateway-0'])
      expect(await packagesIn(pod)).toContain('undici')

    await eachCaller('/adapters/everything/mcp', async ({ call }) =>
      expect(await call('echo', { message: 'hello' })).toContain('hello'),
    )
    await eachCaller('/adapters/time/mcp', async ({ call }) =>
      expect(await call('get_current_time', { timezone: 'Asia/Tokyo' })).toContain('Asia/Tokyo'),
    )
    const state = async (): Promise<unknown> =>
      ((await api('GET', '/adapters/azure/status')).body as { replicaStatus: string }).replicaStatus
    await expect.poll(state, { timeout: 150_000, interval: 500 }).toBe('Healthy')

    await eachCaller('/adapters/azure/mcp', async ({ tools }) => expect(tools).toContain('storage'))
    for (const name of Object.keys(servers))
      expect((await api('DELETE', `/adapters/${name}`)).status).toBe(204)
  }, 600_000)

  test('the gateway has rights in its own namespace alone, and tool gateways none', async () => {
    const can = (account: string, ...what: string[]): Promise<string> =>
      kubectl('auth', 'can-i', ...what, `--as=system:serviceaccount:adapter:${account}`).catch(
        (error: { stdout: string }) => error.stdout.trim(),
      )
    expect(await can('mcpgateway-sa', 'create', 'statefulsets.apps', '--namespace=adapter')).toBe(
      'yes',
    )
    expect(await can('mcpgateway-sa', 'get', 'secrets', '--namespace=default')).toBe('no')
    expect(await can('mcpgateway-sa', 'create', 'pods/exec', '--namespace=adapter')).toBe('no')
    expect(await can('toolgateway-sa', 'list', 'pods', '--namespace=adapter')).toBe('no')
    expect(await can('toolgateway-sa', 'get', 'secrets', '--namespace=adapter')).toBe('no')
  })

  test('nobody reaches it but by port-forward while callers are unverified', async () => {
    const [clients, probes] = await Promise.all(
      [8000, 8001].map((port) =>
        inNamespace(
          'exec',
          'toolgateway-0',
          '--',
          'node',
          '-e',
          `fetch('http://' + process.argv[1] + ':${port}/readyz').then(({ status }) => ` +
            'console.log(status), ({ cause }) => console.log(cause.code))',
          'mcpgateway-0.mcpgateway-pods',
        ),
      ),
    )
    expect([clients, probes]).toEqual(['ECONNREFUSED', '200'])
  })

  test('deleted adapters and tools leave nothing behind', async () => {
    expect((await api('DELETE', '/adapters/mcp-example')).status).toBe(204)
    const kinds = 'statefulsets,services,secrets,pods,poddisruptionbudgets'
    await expect
      .poll(
        () =>
          inNamespace(
            'get',
            kinds,
            '--selector',
            'app.kubernetes.io/managed-by=mcp-gateway',
            '--output',
            'name',
          ),
        {
          timeout: 90_000,
        },
      )
      .toBe('')
  })
})
