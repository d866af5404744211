import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { GatewayProcess, ToolPlane } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runServerSuite, tally, type ScenarioResult } from './run-suite.ts'

/** The tools that the suites name, as plain HTTP services that are registered at `/tools`. */
interface Fixture {
  readonly description: string
  readonly inputSchema?: object
  readonly answer: (response: ServerResponse, body: unknown) => void | Promise<void>
}

const png = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAF' +
    'BQIAX8jx0gAAAABJRU5ErkJggg==',
  'base64',
)
const wav = Buffer.from('UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=', 'base64')
const send = (response: ServerResponse, type: string, body: string | Buffer): void =>
  void response.writeHead(200, { 'content-type': type }).end(body)
const sendJson = (response: ServerResponse, value: unknown): void =>
  send(response, 'application/json', JSON.stringify(value))

let gateway: GatewayProcess | ToolPlane
let changes = 0
const fixtures: Readonly<Record<string, Fixture>> = {
  test_simple_text: {
    description: 'Answers with text',
    answer: (response) =>
      send(response, 'text/plain', 'This is a simple text response for testing.'),
  },
  test_image_content: {
    description: 'Answers with an image',
    answer: (response) => send(response, 'image/png', png),
  },
  test_audio_content: {
    description: 'Answers with audio',
    answer: (response) => send(response, 'audio/wav', wav),
  },
  test_embedded_resource: {
    description: 'Answers with a resource inside',
    answer: (response) =>
      sendJson(response, {
        content: [
          {
            type: 'resource',
            resource: {
              uri: 'test://embedded-resource',
              mimeType: 'text/plain',
              text: 'This is an embedded resource content.',
            },
          },
        ],
      }),
  },
  test_multiple_content_types: {
    description: 'Answers with text, an image and a resource',
    answer: (response) =>
      sendJson(response, {
        content: [
          { type: 'text', text: 'Multiple content types test:' },
          { type: 'image', data: png.toString('base64'), mimeType: 'image/png' },
          {
            type: 'resource',
            resource: {
              uri: 'test://mixed-content-resource',
              mimeType: 'application/json',
              text: '{"test":"data","value":123}',
            },
          },
        ],
      }),
  },
  test_error_handling: {
    description: 'Always fails',
    answer: (response) =>
      void response
        .writeHead(500, { 'content-type': 'text/plain' })
        .end('This tool intentionally returns an error for testing'),
  },
  test_tool_with_progress: {
    description: 'Reports progress three times',
    async answer(response) {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' })
      for (const progress of [0, 50, 100]) {
        response.write(`${JSON.stringify({ progress, total: 100 })}\n`)
        await sleep(50)
      }
      response.end(JSON.stringify({ content: [{ type: 'text', text: 'Done' }] }))
    },
  },
  test_trigger_tool_change: {
    description: 'Changes what a tool is called for people',
    async answer(response) {
      changes += 1
      const { status } = await gateway.api('PATCH', '/tools/test-simple-text', {
        toolDefinition: { tool: { title: `Change ${changes}` } },
      })
      send(response, 'text/plain', `The change answered ${status}`)
    },
  },
  json_schema_2020_12_tool: {
    description: 'Tool with JSON Schema 2020-12 features',
    inputSchema: {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
      $defs: {
        address: {
          $anchor: 'addressDef',
          type: 'object',
          properties: { street: { type: 'string' }, city: { type: 'string' } },
        },
      },
      properties: {
        name: { type: 'string' },
        address: { $ref: '#/$defs/address' },
        contactMethod: { type: 'string', enum: ['phone', 'email'] },
        phone: { type: 'string' },
        email: { type: 'string' },
      },
      allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
      if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
      // oxlint-disable-next-line unicorn/no-thenable -- a keyword of JSON Schema
      then: { required: ['phone'] },
      else: { required: ['email'] },
      additionalProperties: false,
    },
    answer: sendJson,
  },
  test_header_parameters: {
    description: 'Has parameters that travel in headers as well',
    inputSchema: {
      type: 'object',
      properties: {
        region: { type: 'string', 'x-mcp-header': 'Region' },
        priority: { type: 'integer', 'x-mcp-header': 'Priority' },
        query: { type: 'string' },
      },
      required: ['region'],
    },
    answer: sendJson,
  },
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body: unknown = await json(request)
  await fixtures[(request.url ?? '').slice(1)]?.answer(response, body)
}

const asks = 'A registered tool asks its client nothing: no elicitation, no sampling, no roots.'
const logs = 'A registered tool sends no log messages.'
const toolsAlone = '`/mcp` offers tools alone: its lists of resources and prompts are empty.'

/**
 * Scenarios that registered tools cannot pass, with the reasons. A scenario that passes fails the
 * test, too.
 */
const baseline: readonly { readonly reason: string; readonly scenarios: readonly string[] }[] = [
  {
    reason: toolsAlone,
    scenarios: [
      'completion-complete',
      'prompts-get-embedded-resource',
      'prompts-get-simple',
      'prompts-get-with-args',
      'prompts-get-with-image',
      'resources-read-binary',
      'resources-read-text',
      'resources-templates-read',
    ],
  },
  { reason: logs, scenarios: ['tools-call-with-logging'] },
  {
    reason: asks,
    scenarios: [
      'elicitation-sep1034-defaults',
      'elicitation-sep1330-enums',
      'tools-call-elicitation',
      'tools-call-sampling',
    ],
  },
]

/** The same for single checks of scenarios of 2026-07-28 that cover more than tools. */
const checks: Readonly<Record<string, string>> = {
  'sep-2575-server-rejects-undeclared-capability': asks,
  'sep-2575-missing-capability-http-400': asks,
  'sep-2575-http-server-no-independent-requests-on-stream': asks,
  'sep-2575-server-no-log-without-loglevel': logs,
}

describe.each([
  ['one process', () => GatewayProcess.start()],
  ['two tool gateways behind two gateways, which take turns', () => ToolPlane.start()],
] as const)('/mcp with registered tools, served by %s,', (_arrangement, start) => {
  let service: Server
  beforeAll(async () => {
    gateway = await start()
    service = createServer((request, response) => void answer(request, response))
    await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve))
    const { port } = service.address() as AddressInfo
    for (const [tool, { description, inputSchema }] of Object.entries(fixtures)) {
      const { status, body } = await gateway.api('POST', '/tools', {
        name: tool.replaceAll('_', '-'),
        endpoint: `http://127.0.0.1:${port}/${tool}`,
        toolDefinition: {
          tool: { name: tool, description, ...(inputSchema === undefined ? {} : { inputSchema }) },
        },
      })
      expect({ status, body }).toMatchObject({ status: 201 })
    }
  })
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]()
    await new Promise((resolve) => service.close(resolve))
  })

  const run = (
    suite: 'stable' | 'next',
    requirements?: '2025-11-25' | '2026-07-28',
  ): Promise<readonly ScenarioResult[]> =>
    runServerSuite({
      suite,
      url: `${gateway.origin}/mcp`,
      ...(requirements === undefined ? {} : { requirements }),
    })

  const known = baseline.flatMap(({ scenarios }) => scenarios).toSorted()

  test('the router passes the stable suite, except for the baseline', async () => {
    expect(tally(await run('stable')).failing.toSorted()).toEqual(known)
  })

  test('the router passes the requirements of 2025-11-25, except for the baseline', async () => {
    expect(tally(await run('next', '2025-11-25')).failing.toSorted()).toEqual(known)
  })

  test('the router passes the requirements of 2026-07-28, except for the baseline', async () => {
    // Questions and tasks are whole families of scenarios. None of them concerns a plain tool.
    const results = (await run('next', '2026-07-28')).filter(
      ({ scenario }) => !/^(tasks|input-required-result)-/.test(scenario),
    )
    const partly = ['caching', 'server-stateless']
    const failing = tally(results.filter(({ scenario }) => !partly.includes(scenario))).failing
    expect(failing.toSorted()).toEqual(baseline[0]?.scenarios)
    const failed = results
      .filter(({ scenario }) => partly.includes(scenario))
      .flatMap((result) =>
        result.checks.filter(({ status }) => status === 'FAILURE').map(({ id }) => id),
      )
    expect(failed.toSorted()).toEqual(Object.keys(checks).toSorted())
    const heard = results
      .flatMap((result) => result.checks)
      .find(({ id }) => id === 'sep-2575-server-sends-tools-list-changed-on-subscription')
    expect(heard?.status).toBe('SUCCESS')
  })
})
