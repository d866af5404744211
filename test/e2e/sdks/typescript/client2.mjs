/** The client of the matrix on version 2 of the TypeScript SDK, which speaks both eras. */
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { runJobs } from './steps.mjs'
import { namesOf } from './surface.mjs'

const logLevel = 'io.modelcontextprotocol/logLevel'

await runJobs(({ alias, era, url, command: [command, ...args] = [], env }, heard) => {
  const { named, note } = namesOf(alias)
  const modern = era === 'modern'
  const mode = modern ? { pin: '2026-07-28' } : 'legacy'
  const client = new Client(
    { name: 'typescript2', version: '1' },
    { capabilities: { elicitation: { form: {} } }, versionNegotiation: { mode } },
  )
  client.setRequestHandler('elicitation/create', () => ({
    action: 'accept',
    content: { name: 'Ada' },
  }))
  client.setNotificationHandler('notifications/message', ({ params }) => {
    heard.logs.push(params.data)
  })
  client.setNotificationHandler('notifications/resources/updated', ({ params }) => {
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
  const call = async (name, args, options, meta) =>
    (await client.callTool({ name: named(name), arguments: args, ...meta }, options)).content
  return {
    async connect() {
      await client.connect(transport)
      return client.getNegotiatedProtocolVersion()
    },
    listTools: async () => (await client.listTools()).tools,
    call,
    async work() {
      if (!modern && client.getServerCapabilities()?.logging !== undefined)
        await client.setLoggingLevel('info')
      const options = { onprogress: ({ progress }) => heard.progress.push(progress) }
      return call('work', {}, options, modern ? { _meta: { [logLevel]: 'info' } } : {})
    },
    read: async () => (await client.readResource({ uri: note })).contents,
    subscribe: () =>
      modern
        ? client.listen({ resourceSubscriptions: [note] })
        : client.subscribeResource({ uri: note }),
    prompt: async () =>
      (await client.getPrompt({ name: named('greet'), arguments: { name: 'Ada' } })).messages,
    async close() {
      if (url !== undefined && !modern) await transport.terminateSession()
      await client.close()
    },
  }
})
