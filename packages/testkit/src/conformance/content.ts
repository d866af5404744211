/**
 * What the conformance suites look for in a server, written once for both eras: a tool asks its caller through `Caller.ask`, which is a
 * request of the server in the legacy era and an `input_required` result in the modern one.
 */

export interface Question {
  readonly method: 'elicitation/create' | 'sampling/createMessage' | 'roots/list'
  readonly params: Record<string, unknown>
}

export interface Caller {
  /** Asks all of it at once, and gives the answers by the same keys. */
  ask(questions: Readonly<Record<string, Question>>): Promise<Record<string, Record<string, unknown>>>
  notify(method: string, params: Record<string, unknown>): Promise<void>
  readonly progressToken: string | number | undefined
  /** Refuses the call when the client has not declared the capability. */
  need(capability: 'sampling'): void
  has(capability: 'elicitation' | 'sampling' | 'roots'): boolean
  /** Tells who listens that a list has changed. */
  changed(list: 'tools' | 'prompts'): void
  /** Breaks the stream of the call off, so that its client comes back for the answer. */
  breakOff(): void
}

export interface ToolDefinition {
  readonly name: string
  readonly description: string
  readonly inputSchema: Record<string, unknown>
  readonly run: (caller: Caller, args: Record<string, unknown>) => Promise<Record<string, unknown>>
}

export const serverInfo = { name: 'conformance-fixture', version: '1.0.0' }
export const capabilities = {
  tools: { listChanged: true },
  prompts: { listChanged: true },
  resources: { subscribe: true, listChanged: true },
  logging: {},
  completions: {},
}

const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=='
const wav = 'UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA='
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const text = (words: string): Record<string, unknown> => ({ content: [{ type: 'text', text: words }] })
const nothing = { type: 'object', properties: {} }
const form = (message: string, properties: Record<string, unknown>, required: readonly string[]): Question => ({
  method: 'elicitation/create',
  params: { message, requestedSchema: { type: 'object', properties, required } },
})
const sample = (words: string, maxTokens: number): Question => ({
  method: 'sampling/createMessage',
  params: { messages: [{ role: 'user', content: { type: 'text', text: words } }], maxTokens },
})
const nameForm = form('What is your name?', { name: { type: 'string' } }, ['name'])
const elicited = ({ action, content }: Record<string, unknown>): string =>
  `action=${String(action)}, content=${JSON.stringify(content ?? {})}`
const titled = (...words: string[]): unknown[] => words.map((title, index) => ({ const: `value${index + 1}`, title }))

function tool(
  name: string,
  description: string,
  run: ToolDefinition['run'],
  inputSchema: Record<string, unknown> = nothing,
): ToolDefinition {
  return { name, description, inputSchema, run }
}

export const tools: readonly ToolDefinition[] = [
  tool('test_simple_text', 'Answers with text', async () => text('This is a simple text response for testing.')),
  tool('test_image_content', 'Answers with an image', async () => ({ content: [{ type: 'image', data: png, mimeType: 'image/png' }] })),
  tool('test_audio_content', 'Answers with sound', async () => ({ content: [{ type: 'audio', data: wav, mimeType: 'audio/wav' }] })),
  tool('test_embedded_resource', 'Answers with a resource', async () => ({
    content: [
      {
        type: 'resource',
        resource: { uri: 'test://embedded-resource', mimeType: 'text/plain', text: 'This is an embedded resource content.' },
      },
    ],
  })),
  tool('test_multiple_content_types', 'Answers with content of several kinds', async () => ({
    content: [
      { type: 'text', text: 'Multiple content types test:' },
      { type: 'image', data: png, mimeType: 'image/png' },
      {
        type: 'resource',
        resource: { uri: 'test://mixed-content-resource', mimeType: 'application/json', text: '{"test":"data","value":123}' },
      },
    ],
  })),
  tool('test_tool_with_logging', 'Logs while it runs', async (caller) => {
    for (const data of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await caller.notify('notifications/message', { level: 'info', data })
      await pause(50)
    }
    return text('Tool with logging executed successfully')
  }),
  tool('test_logging_tool', 'Logs while it runs', async (caller) => {
    await caller.notify('notifications/message', { level: 'info', data: 'a line of the log' })
    return text('logged')
  }),
  tool('test_tool_with_progress', 'Tells of its progress', async (caller) => {
    const { progressToken = 0 } = caller
    for (const progress of [0, 50, 100]) {
      await caller.notify('notifications/progress', { progressToken, progress, total: 100, message: `Completed step ${progress} of 100` })
      await pause(50)
    }
    return text(String(progressToken))
  }),
  tool('test_error_handling', 'Fails', async () => ({ ...text('This tool intentionally returns an error for testing'), isError: true })),
  tool('test_reconnection', 'Breaks its stream off and answers later', async (caller) => {
    caller.breakOff()
    await pause(100)
    return text('The client came back for this answer.')
  }),
  tool(
    'test_sampling',
    'Asks the model of its client',
    async (caller, { prompt }) => {
      const { answer = {} } = await caller.ask({ answer: sample(String(prompt), 100) })
      return text(`LLM response: ${(answer['content'] as { text?: string } | undefined)?.text ?? ''}`)
    },
    { type: 'object', properties: { prompt: { type: 'string' } }, required: ['prompt'] },
  ),
  tool(
    'test_elicitation',
    'Asks the user',
    async (caller, { message }) => {
      const { answer = {} } = await caller.ask({
        answer: form(String(message), { response: { type: 'string', description: "User's response" } }, ['response']),
      })
      return text(`User response: ${elicited(answer)}`)
    },
    { type: 'object', properties: { message: { type: 'string' } }, required: ['message'] },
  ),
  tool('test_elicitation_sep1034_defaults', 'Asks the user, with defaults', async (caller) => {
    const { answer = {} } = await caller.ask({
      answer: form(
        'Please review and update the form fields with defaults',
        {
          name: { type: 'string', description: 'User name', default: 'John Doe' },
          age: { type: 'integer', description: 'User age', default: 30 },
          score: { type: 'number', description: 'User score', default: 95.5 },
          status: { type: 'string', description: 'User status', enum: ['active', 'inactive', 'pending'], default: 'active' },
          verified: { type: 'boolean', description: 'Verification status', default: true },
        },
        [],
      ),
    })
    return text(`Elicitation completed: ${elicited(answer)}`)
  }),
  tool('test_elicitation_sep1330_enums', 'Asks the user to choose', async (caller) => {
    const options = ['option1', 'option2', 'option3']
    const { answer = {} } = await caller.ask({
      answer: form(
        'Please select options from the enum fields',
        {
          untitledSingle: { type: 'string', description: 'Select one option', enum: options },
          titledSingle: { type: 'string', description: 'Select one', oneOf: titled('First Option', 'Second Option', 'Third Option') },
          legacyEnum: {
            type: 'string',
            description: 'Select one (legacy)',
            enum: ['opt1', 'opt2', 'opt3'],
            enumNames: ['Option One', 'Option Two', 'Option Three'],
          },
          untitledMulti: {
            type: 'array',
            description: 'Select several',
            minItems: 1,
            maxItems: 3,
            items: { type: 'string', enum: options },
          },
          titledMulti: {
            type: 'array',
            description: 'Select several',
            minItems: 1,
            maxItems: 3,
            items: { anyOf: titled('First Choice', 'Second Choice', 'Third Choice') },
          },
        },
        [],
      ),
    })
    return text(`Elicitation completed: ${elicited(answer)}`)
  }),
  tool('test_streaming_elicitation', 'Asks the user on its stream', async (caller) => {
    await caller.ask({ user_name: nameForm })
    return text('done')
  }),
  tool('test_missing_capability', 'Needs sampling', async (caller) => {
    caller.need('sampling')
    return text('sampling is there')
  }),
  tool('test_trigger_tool_change', 'Changes the list of tools', async (caller) => {
    caller.changed('tools')
    return text('changed')
  }),
  tool('test_trigger_prompt_change', 'Changes the list of prompts', async (caller) => {
    caller.changed('prompts')
    return text('changed')
  }),
  tool('test_input_required_result_elicitation', 'Asks the user for a name', async (caller) => {
    const { user_name: answer = {} } = await caller.ask({ user_name: nameForm })
    return text(`Hello, ${String((answer['content'] as { name?: string } | undefined)?.name ?? 'you')}!`)
  }),
  tool('test_input_required_result_sampling', 'Asks the model', async (caller) => {
    const { capital_question: answer = {} } = await caller.ask({ capital_question: sample('What is the capital of France?', 100) })
    return text(`The model says: ${(answer['content'] as { text?: string } | undefined)?.text ?? ''}`)
  }),
  tool('test_input_required_result_list_roots', 'Asks for the roots', async (caller) => {
    const { client_roots: answer = {} } = await caller.ask({ client_roots: { method: 'roots/list', params: {} } })
    return text(`Roots: ${JSON.stringify(answer['roots'] ?? [])}`)
  }),
  tool('test_input_required_result_request_state', 'Asks and keeps state', async (caller) => {
    await caller.ask({ confirm: form('Please confirm', { ok: { type: 'boolean' } }, ['ok']) })
    return text('state-ok')
  }),
  tool('test_input_required_result_tampered_state', 'Asks and keeps sealed state', async (caller) => {
    await caller.ask({ confirm: form('Please confirm', { ok: { type: 'boolean' } }, ['ok']) })
    return text('state-ok')
  }),
  tool('test_input_required_result_multiple_inputs', 'Asks three things at once', async (caller) => {
    await caller.ask({
      user_name: nameForm,
      greeting: sample('Generate a greeting', 50),
      client_roots: { method: 'roots/list', params: {} },
    })
    return text('All of it was answered.')
  }),
  tool('test_input_required_result_multi_round', 'Asks one thing after another', async (caller) => {
    await caller.ask({ step1: form('Step 1: What is your name?', { name: { type: 'string' } }, ['name']) })
    await caller.ask({ step2: form('Step 2: What is your favorite color?', { color: { type: 'string' } }, ['color']) })
    return text('Both steps are done.')
  }),
  tool('test_input_required_result_capabilities', 'Asks what the client can be asked', async (caller) => {
    const questions: Record<string, Question> = {
      ...(caller.has('elicitation') ? { user_name: nameForm } : {}),
      ...(caller.has('sampling') ? { greeting: sample('Generate a greeting', 50) } : {}),
    }
    if (Object.keys(questions).length > 0) await caller.ask(questions)
    return text('done')
  }),
  tool('test_custom_headers', 'Repeats arguments in headers', async (_caller, args) => text(JSON.stringify(args)), {
    type: 'object',
    properties: {
      region: { type: 'string', 'x-mcp-header': 'Region' },
      priority: { type: 'integer', 'x-mcp-header': 'Priority' },
      verbose: { type: 'boolean', 'x-mcp-header': 'Verbose' },
      query: { type: 'string' },
    },
  }),
  tool('json_schema_2020_12_tool', 'Has a schema with much of JSON Schema 2020-12', async (_caller, args) => text(JSON.stringify(args)), {
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
    then: { required: ['phone'] },
    else: { required: ['email'] },
    additionalProperties: false,
  }),
]

export const resources = [
  { uri: 'test://static-text', name: 'static-text', description: 'Text that does not change', mimeType: 'text/plain' },
  { uri: 'test://static-binary', name: 'static-binary', description: 'An image', mimeType: 'image/png' },
  { uri: 'test://watched-resource', name: 'watched-resource', description: 'To be subscribed to', mimeType: 'text/plain' },
]
export const resourceTemplates = [
  { uriTemplate: 'test://template/{id}/data', name: 'template', description: 'Data by its id', mimeType: 'application/json' },
]

/** The contents of a resource; undefined when there is none by this address. */
export function readResource(uri: string): Record<string, unknown>[] | undefined {
  if (uri === 'test://static-text') return [{ uri, mimeType: 'text/plain', text: 'This is the content of the static text resource.' }]
  if (uri === 'test://static-binary') return [{ uri, mimeType: 'image/png', blob: png }]
  if (uri === 'test://watched-resource') return [{ uri, mimeType: 'text/plain', text: 'Watched resource content' }]
  const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1]
  if (id === undefined) return undefined
  return [{ uri, mimeType: 'application/json', text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) }]
}

export const prompts = [
  { name: 'test_simple_prompt', description: 'A prompt without arguments' },
  {
    name: 'test_prompt_with_arguments',
    description: 'A prompt with arguments',
    arguments: [
      { name: 'arg1', description: 'First test argument', required: true },
      { name: 'arg2', description: 'Second test argument', required: true },
    ],
  },
  {
    name: 'test_prompt_with_embedded_resource',
    description: 'A prompt with a resource',
    arguments: [{ name: 'resourceUri', description: 'Address of the resource', required: true }],
  },
  { name: 'test_prompt_with_image', description: 'A prompt with an image' },
  { name: 'test_input_required_result_prompt', description: 'A prompt that asks the user' },
]

/** The messages of a prompt; undefined when there is none by this name. */
export async function getPrompt(
  caller: Caller,
  name: string,
  args: Readonly<Record<string, string>>,
): Promise<Record<string, unknown>[] | undefined> {
  const said = (words: string): Record<string, unknown> => ({ role: 'user', content: { type: 'text', text: words } })
  switch (name) {
    case 'test_simple_prompt':
      return [said('This is a simple prompt for testing.')]
    case 'test_prompt_with_arguments':
      return [said(`Prompt with arguments: arg1='${args['arg1']}', arg2='${args['arg2']}'`)]
    case 'test_prompt_with_embedded_resource': {
      const resource = { uri: args['resourceUri'], mimeType: 'text/plain', text: 'Embedded resource content for testing.' }
      return [{ role: 'user', content: { type: 'resource', resource } }, said('Please process the embedded resource above.')]
    }
    case 'test_prompt_with_image':
      return [{ role: 'user', content: { type: 'image', data: png, mimeType: 'image/png' } }, said('Please analyze the image above.')]
    case 'test_input_required_result_prompt': {
      const { user_context: answer = {} } = await caller.ask({
        user_context: form('What context should the prompt use?', { context: { type: 'string' } }, ['context']),
      })
      return [said(`Use this context: ${JSON.stringify(answer['content'] ?? {})}`)]
    }
    default:
      return undefined
  }
}
