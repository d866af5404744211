import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort, programs } from '@mcp-gateway/testkit'
import { aggregateSubjects } from './aggregates.ts'
import {
  echoAdapter,
  folder,
  node,
  start,
  startEcho,
  startGateway,
  type Subject,
} from './gateways.ts'
import { childrenOf } from './processes.ts'
import { untilAnswers } from './requests.ts'
import { startWithTokens } from './tokens.ts'
import { toolSubjects } from './tools.ts'

const stdioEcho = `'${programs.echoStdio}'`
const bridgedAdapter = {
  name: 'echo',
  imageName: 'mcp-proxy',
  imageVersion: '1.0.0',
  environmentVariables: { MCP_COMMAND: node, MCP_ARGS: stdioEcho },
}

/** Peers come from npm, outside of the main tree. */
function peer(name: string, version: string, bin: string): string {
  const prefix = fileURLToPath(new URL('../../.cache/bench', import.meta.url))
  const file = join(prefix, 'node_modules', name, bin)
  if (existsSync(file)) return file
  const installed = spawnSync(
    'npm',
    [
      'install',
      '--no-save',
      '--no-audit',
      '--no-fund',
      '--prefix',
      prefix,
      'mcp-proxy@6.7.19',
      'supergateway@4.0.0',
    ],
    { encoding: 'utf8' },
  )
  if (installed.status !== 0)
    throw new Error(`${name}@${version} cannot be installed: ${installed.stderr}`)
  return file
}

export const subjects: Readonly<Record<string, () => Promise<Subject>>> = {
  direct: async () => {
    const { echo, port } = await startEcho()
    return { url: `http://127.0.0.1:${port}/mcp`, pid: echo.pid, parts: [echo] }
  },
  nginx: async () => {
    const { echo, port: upstream } = await startEcho()
    const port = await freePort()
    const file = join(folder, `nginx-${port}.conf`)
    writeFileSync(
      file,
      `daemon off;
       master_process off;
       pid ${folder}/nginx-${port}.pid;
       error_log /dev/null;
       events {}
       http {
         access_log off;
         client_body_temp_path ${folder}/body;
         proxy_temp_path ${folder}/proxy;
         fastcgi_temp_path ${folder}/f;
         uwsgi_temp_path ${folder}/u;
         scgi_temp_path ${folder}/s;
         upstream e { server 127.0.0.1:${upstream}; keepalive 64; }
         server {
           listen 127.0.0.1:${port};
           keepalive_requests 100000000;
           location / {
             proxy_pass http://e;
             proxy_http_version 1.1;
             proxy_set_header Connection "";
             proxy_buffering off;
           }
         }
       }`,
    )
    const nginx = await start(['nginx', '-c', file], {}, port)
    return { url: `http://127.0.0.1:${port}/mcp`, pid: nginx.pid, parts: [nginx, echo] }
  },
  'bare forwarder': async () => {
    const { echo, port: upstream } = await startEcho()
    const port = await freePort()
    const forwarder = await start(
      [node, '--import', 'tsx', fileURLToPath(new URL('bare-forwarder.ts', import.meta.url))],
      { PORT: String(port), UPSTREAM: `http://127.0.0.1:${upstream}` },
      port,
    )
    return { url: `http://127.0.0.1:${port}/mcp`, pid: forwarder.pid, parts: [forwarder, echo] }
  },
  gateway: () => startGateway(echoAdapter),
  'gateway (eras off)': () => startGateway({ ...echoAdapter, eras: 'passthrough' }),
  'gateway (translated)': async () => ({
    ...(await startGateway(echoAdapter)),
    client: { era: 'modern' },
  }),
  'gateway (tokens)': startWithTokens,
  ...toolSubjects,
  ...aggregateSubjects,
  bridge: async () => {
    const port = await freePort()
    const bridge = await start(
      [node, programs.bridge],
      { PORT: String(port), MCP_COMMAND: node, MCP_ARGS: stdioEcho, LOG_LEVEL: 'warn' },
      port,
    )
    return { url: `http://127.0.0.1:${port}/mcp`, pid: bridge.pid, parts: [bridge] }
  },
  'gateway + bridge': async () => {
    const subject = await startGateway(bridgedAdapter)
    await untilAnswers(subject.url)
    return { ...subject, also: childrenOf(subject.pid, programs.bridge) }
  },
  'mcp-proxy': async () => {
    const port = await freePort()
    const proxy = await start(
      [
        node,
        peer('mcp-proxy', '6.7.19', 'dist/bin/mcp-proxy.mjs'),
        '--port',
        String(port),
        '--host',
        '127.0.0.1',
        '--server',
        'stream',
        '--',
        node,
        programs.echoStdio,
      ],
      {},
      port,
    )
    return { url: `http://127.0.0.1:${port}/mcp`, pid: proxy.pid, parts: [proxy] }
  },
  supergateway: async () => {
    const port = await freePort()
    const proxy = await start(
      [
        node,
        peer('supergateway', '4.0.0', 'dist/index.js'),
        '--stdio',
        `${node} ${programs.echoStdio}`,
        '--outputTransport',
        'streamableHttp',
        '--stateful',
        '--port',
        String(port),
        '--logLevel',
        'none',
      ],
      {},
      port,
    )
    return { url: `http://127.0.0.1:${port}/mcp`, pid: proxy.pid, parts: [proxy] }
  },
}
