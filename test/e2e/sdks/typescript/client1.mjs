/** The client of the matrix on version 1 of the TypeScript SDK. It speaks legacy versions only. */
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import {
  ElicitRequestSchema,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js'
import { runJobs } from './steps.mjs'
import { namesOf } from './surface.mjs'

await runJobs(({ alias, url, command: [command, ...args] = [], env }, heard) => {
  const { named, note } = namesOf(alias)
  const client = new Client(
    { name: 'typescript1', version: '1' },
    { capabilities: { elicitation: {} } },
  )
  client.setRequestHandler(ElicitRequestSchema, () => ({
    action: 'accept',
    content: { name: 'Ada' },
  }))
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => {
    heard.logs.push(params.data)
  })
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => {
    heard.updates.push(params.uri)
  })
  const transport =
    url === undefined
      ? new StdioClientTransport({
          command,
          args,
          env: { ...process.env, ...env },
          stderr: 'ignore',
        })
      : new StreamableHTTPClientTransport(new URL(url))
  const call = async (name, args, options) =>
    (await client.callTool({ name: named(name), arguments: args }, undefined, options)).content
  return {
    async connect() {
      await client.connect(transport)
      return transport.protocolVersion ?? '2025-11-25'
    },
    listTools: async () => (await client.listTools()).tools,
    call,
    async work() {
      if (client.getServerCapabilities()?.logging !== undefined)
        await client.setLoggingLevel('info')
      return call('work', {}, { onprogress: ({ progress }) => heard.progress.push(progress) })
    },
    read: async () => (await client.readResource({ uri: note })).contents,
    subscribe: () => client.subscribeResource({ uri: note }),
    prompt: async () =>
      (await client.getPrompt({ name: named('greet'), arguments: { name: 'Ada' } })).messages,
    async close() {
      if (url !== undefined) await transport.terminateSession()
      await client.close()
    },
  }
})
