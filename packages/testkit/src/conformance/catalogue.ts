import { setTimeout as sleep } from 'node:timers/promises'

/**
 * The tools, prompts and resources of the fixtures, for both eras. A tool that needs the client
 * returns questions and is called again with the answers. Each era's half sends the questions.
 */

export type Json = Readonly<Record<string, unknown>>

/** One request from the server to the client. */
export interface Question {
  readonly method: 'elicitation/create' | 'sampling/createMessage' | 'roots/list'
  readonly params: Json
}

/**
 * Returned by a tool or prompt that needs more information first. `state` comes back with the
 * answers.
 */
export interface Questions {
  readonly questions: Readonly<Record<string, Question>>
  readonly state?: unknown
}

/** A change that clients may listen for. */
export type Change =
  | { readonly kind: 'tools_list_changed' | 'prompts_list_changed' | 'resources_list_changed' }
  | { readonly kind: 'resource_updated'; readonly uri: string }

/** One call of a tool or prompt, as its body sees the call. */
export interface Call {
  readonly arguments: Json
  readonly clientCapabilities: Json
  /**
   * Answers of the client to the previous round, by the keys of its questions. They are unchecked.
   */
  readonly answers: Json
  readonly state: unknown
  readonly signal: AbortSignal
  progress(done: number, total: number): Promise<void>
  log(level: 'debug' | 'info' | 'warning', text: string): Promise<void>
  /**
   * Closes the response stream early, so that the client must reconnect for the rest. No effect if
   * there is no such stream.
   */
  closeStream(): void
  announce(change: Change): Promise<void>
}

export interface Tool {
  readonly name: string
  readonly description: string
  readonly inputSchema: Json & { readonly type: 'object' }
  readonly outputSchema?: Json & { readonly type: 'object' }
  readonly run: (call: Call) => ToolResult | Questions | Promise<ToolResult | Questions>
}

export interface ToolResult {
  readonly content: readonly Json[]
  readonly structuredContent?: Json
  readonly isError?: boolean
}

export interface Prompt {
  readonly name: string
  readonly description: string
  readonly arguments: readonly {
    readonly name: string
    readonly description: string
    readonly required: boolean
  }[]
  readonly run: (call: Call) => PromptResult | Questions
}

export interface PromptResult {
  readonly messages: readonly Json[]
}

/**
 * The client must open these pages before it calls again. A legacy server answers with an error,
 * which does not exist in the modern era.
 */
export class PagesFirst extends Error {
  readonly pages: Readonly<Record<string, { readonly message: string; readonly url: string }>>

  constructor(pages: PagesFirst['pages']) {
    super('Some pages have to be opened first')
    this.pages = pages
  }
}

/** Name and version of every fixture. */
export const identity = { name: 'conformance-fixture', version: '1.0.0' }
export const capabilities = {
  tools: { listChanged: true },
  prompts: { listChanged: true },
  resources: { listChanged: true, subscribe: true },
  completions: {},
  logging: {},
}
export const instructions =
  'A server that the conformance suites and the tests of translation call.'

const redPixel =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=='
const silence = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA='

const text = (value: string): Json => ({ type: 'text', text: value })
const says = (value: string): ToolResult => ({ content: [text(value)] })
const image: Json = { type: 'image', data: redPixel, mimeType: 'image/png' }
const noArguments = { type: 'object', properties: {} } as const

const form = (
  message: string,
  properties: Json,
  required: readonly string[] = Object.keys(properties),
): Question => ({
  method: 'elicitation/create',
  params: { mode: 'form', message, requestedSchema: { type: 'object', properties, required } },
})
const sample = (prompt: string, maxTokens: number): Question => ({
  method: 'sampling/createMessage',
  params: { messages: [{ role: 'user', content: text(prompt) }], maxTokens },
})
const roots: Question = { method: 'roots/list', params: {} }

const isRecord = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * The answer to an elicitation: its action, and the content of an accepted form. Undefined if the
 * answer is missing or makes no sense.
 */
function elicited(
  call: Call,
  key: string,
  isForm = true,
): { readonly action: string; readonly content: Json } | undefined {
  const answer = call.answers[key]
  if (!isRecord(answer)) return undefined
  const { action, content } = answer
  if (action === 'accept' && isForm) return isRecord(content) ? { action, content } : undefined
  return action === 'accept' || action === 'decline' || action === 'cancel'
    ? { action, content: {} }
    : undefined
}

/** A field of an accepted form, if the field is text. */
function field(call: Call, key: string, name: string): string | undefined {
  const value = elicited(call, key)?.content[name]
  return typeof value === 'string' ? value : undefined
}

function sampled(call: Call, key: string): string | undefined {
  const answer = call.answers[key]
  const content = isRecord(answer) ? answer['content'] : undefined
  return isRecord(content) && typeof content['text'] === 'string' ? content['text'] : undefined
}

function rootUris(call: Call, key: string): readonly string[] | undefined {
  const answer = call.answers[key]
  const list = isRecord(answer) ? answer['roots'] : undefined
  return Array.isArray(list)
    ? list.map((root) => String(isRecord(root) ? root['uri'] : root))
    : undefined
}

interface ElicitingTool extends Pick<Tool, 'name' | 'description'> {
  readonly inputSchema?: Tool['inputSchema']
  readonly key: string
  readonly question: (call: Call) => Question
}

/** A tool that elicits once and reports the answer. */
function elicitingTool({
  name,
  description,
  inputSchema = noArguments,
  key,
  question,
}: ElicitingTool): Tool {
  return {
    name,
    description,
    inputSchema,
    run: (call) => {
      const asked = question(call)
      const answer = elicited(call, key, asked.params['mode'] === 'form')
      if (answer === undefined) return { questions: { [key]: asked } }

      return says(
        `User response: action=${answer.action}, content=${JSON.stringify(answer.content)}`,
      )
    },
  }
}

const contentTools: readonly Tool[] = [
  {
    name: 'test_simple_text',
    description: 'Answers with text',
    inputSchema: noArguments,
    run: () => says('This is a simple text response for testing.'),
  },
  {
    name: 'test_image_content',
    description: 'Answers with an image',
    inputSchema: noArguments,
    run: () => ({ content: [image] }),
  },
  {
    name: 'test_audio_content',
    description: 'Answers with audio',
    inputSchema: noArguments,
    run: () => ({ content: [{ type: 'audio', data: silence, mimeType: 'audio/wav' }] }),
  },
  {
    name: 'test_embedded_resource',
    description: 'Answers with a resource inside',
    inputSchema: noArguments,
    run: () => ({
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
  {
    name: 'test_multiple_content_types',
    description: 'Answers with text, an image and a resource',
    inputSchema: noArguments,
    run: () => ({
      content: [
        text('Multiple content types test:'),
        image,
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
  {
    name: 'test_structured_content',
    description: 'Answers with structured content that has a schema',
    inputSchema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
    outputSchema: {
      type: 'object',
      properties: { city: { type: 'string' }, degrees: { type: 'number' } },
      required: ['city', 'degrees'],
    },
    run: ({ arguments: { city } }) => ({
      ...says(`It is 21.5 degrees in ${String(city)}`),
      structuredContent: { city, degrees: 21.5 },
    }),
  },
  {
    name: 'test_echo',
    description: 'Answers with its arguments as JSON',
    inputSchema: { type: 'object', properties: { message: { type: 'string' } } },
    run: (call) => says(JSON.stringify(call.arguments)),
  },
  {
    name: 'test_error_handling',
    description: 'Always fails',
    inputSchema: noArguments,
    run: () => ({ ...says('This tool intentionally returns an error for testing'), isError: true }),
  },
  {
    name: 'json_schema_2020_12_tool',
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
    run: (call) => says(JSON.stringify(call.arguments)),
  },
  {
    name: 'test_header_parameters',
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
    run: (call) => says(JSON.stringify(call.arguments)),
  },
]

/** Labels of the calls of `test_wait` that were cancelled in this process. */
const cancelled: string[] = []

const runningTools: readonly Tool[] = [
  {
    name: 'test_tool_with_logging',
    description: 'Sends three log messages',
    inputSchema: noArguments,
    run: async (call) => {
      await call.log('info', 'Tool execution started')
      await sleep(50)
      await call.log('info', 'Tool processing data')
      await sleep(50)
      await call.log('info', 'Tool execution completed')
      return says('Three messages were logged')
    },
  },
  {
    name: 'test_logging_tool',
    description: 'Logs one message at each of three levels',
    inputSchema: noArguments,
    run: async (call) => {
      await call.log('debug', 'a debug message')
      await call.log('info', 'an info message')
      await call.log('warning', 'a warning')
      return says('Logged')
    },
  },
  {
    name: 'test_tool_with_progress',
    description: 'Reports progress three times',
    inputSchema: noArguments,
    run: async (call) => {
      await call.progress(0, 100)
      await sleep(50)
      await call.progress(50, 100)
      await sleep(50)
      await call.progress(100, 100)
      // SDK clients lose progress that arrives in one read with the answer.
      await sleep(50)
      return says('Done')
    },
  },
  {
    name: 'test_reconnection',
    description: 'Closes its stream before it answers',
    inputSchema: noArguments,
    run: async (call) => {
      await sleep(50)
      call.closeStream()
      await sleep(100)
      return says('The answer after the stream was closed')
    },
  },
  {
    name: 'test_wait',
    description: 'Answers after the given milliseconds unless it is cancelled',
    inputSchema: {
      type: 'object',
      properties: { milliseconds: { type: 'integer' }, label: { type: 'string' } },
    },
    run: async (call) => {
      const { milliseconds = 60_000, label = '' } = call.arguments
      await call.progress(0, 1)
      try {
        await sleep(Number(milliseconds), undefined, { signal: call.signal })
      } catch (error) {
        cancelled.push(String(label))
        throw error
      }
      return says('Waited')
    },
  },
  {
    name: 'test_cancelled_calls',
    description: 'Tells the labels of all calls of test_wait that were cancelled',
    inputSchema: noArguments,
    run: () => says(JSON.stringify(cancelled)),
  },
]

/** The times that each kind of list was announced as changed. Undefined if lists stay equal. */
let changes: Map<Change['kind'], number> | undefined
const changed = (kind: Change['kind'], description: string): string =>
  changes?.has(kind) === true ? `${description}, ${changes.get(kind)} times` : description

/** From now on a list that is announced as changed has another description in it. */
export function letListsChange(): void {
  changes = new Map()
}

const announcement = (
  name: string,
  description: string,
  change: (call: Call) => Change,
  inputSchema: Tool['inputSchema'],
): Tool => ({
  name,
  description,
  inputSchema,
  run: async (call) => {
    const { kind } = change(call)
    changes?.set(kind, (changes.get(kind) ?? 0) + 1)
    await call.announce(change(call))
    return says('Announced')
  },
})

/** The names never change, so that two runs of a suite see the same names. */
const announcingTools: readonly Tool[] = [
  announcement(
    'test_trigger_tool_change',
    'Announces that the tools changed',
    () => ({ kind: 'tools_list_changed' }),
    noArguments,
  ),
  announcement(
    'test_trigger_prompt_change',
    'Announces that the prompts changed',
    () => ({ kind: 'prompts_list_changed' }),
    noArguments,
  ),
  announcement(
    'test_trigger_resource_change',
    'Announces that the resources changed',
    () => ({ kind: 'resources_list_changed' }),
    noArguments,
  ),
  announcement(
    'test_trigger_resource_update',
    'Announces that a resource was updated',
    (call) => ({ kind: 'resource_updated', uri: String(call.arguments['uri']) }),
    { type: 'object', properties: { uri: { type: 'string' } }, required: ['uri'] },
  ),
]

const choices = (values: readonly string[], titles: readonly string[]): readonly Json[] =>
  values.map((value, index) => ({ const: value, title: titles[index] ?? value }))

const askingTools: readonly Tool[] = [
  elicitingTool({
    name: 'test_elicitation',
    description: 'Asks the user for a name and an address',
    inputSchema: {
      type: 'object',
      properties: { message: { type: 'string', description: 'What the user is shown' } },
      required: ['message'],
    },
    key: 'user',
    question: (call) =>
      form(String(call.arguments['message']), {
        username: { type: 'string', description: "User's response" },
        email: { type: 'string', description: "User's email address" },
      }),
  }),
  elicitingTool({
    name: 'test_elicitation_sep1034_defaults',
    description: 'Asks with a default for every primitive type',
    key: 'defaults',
    question: () =>
      form(
        'Please check the values',
        {
          name: { type: 'string', description: 'User name', default: 'John Doe' },
          age: { type: 'integer', description: 'User age', default: 30 },
          score: { type: 'number', description: 'User score', default: 95.5 },
          status: {
            type: 'string',
            description: 'User status',
            enum: ['active', 'inactive', 'pending'],
            default: 'active',
          },
          verified: { type: 'boolean', description: 'Whether the user is verified', default: true },
        },
        [],
      ),
  }),
  elicitingTool({
    name: 'test_elicitation_sep1330_enums',
    description: 'Asks with every form of a choice',
    key: 'enums',
    question: () =>
      form(
        'Please choose',
        {
          untitledSingle: {
            type: 'string',
            description: 'One of three',
            enum: ['option1', 'option2', 'option3'],
          },
          titledSingle: {
            type: 'string',
            description: 'One of three with titles',
            oneOf: choices(
              ['value1', 'value2', 'value3'],
              ['First Option', 'Second Option', 'Third Option'],
            ),
          },
          legacyEnum: {
            type: 'string',
            description: 'One of three, titled the old way',
            enum: ['opt1', 'opt2', 'opt3'],
            enumNames: ['Option One', 'Option Two', 'Option Three'],
          },
          untitledMulti: {
            type: 'array',
            description: 'Some of three',
            minItems: 1,
            maxItems: 3,
            items: { type: 'string', enum: ['option1', 'option2', 'option3'] },
          },
          titledMulti: {
            type: 'array',
            description: 'Some of three with titles',
            minItems: 1,
            maxItems: 3,
            items: {
              anyOf: choices(
                ['value1', 'value2', 'value3'],
                ['First Choice', 'Second Choice', 'Third Choice'],
              ),
            },
          },
        },
        [],
      ),
  }),
  elicitingTool({
    name: 'test_elicitation_url',
    description: 'Asks the user to open a page',
    key: 'page',
    question: () => ({
      method: 'elicitation/create',
      params: { mode: 'url', message: 'Please sign in', url: 'https://example.com/sign-in' },
    }),
  }),
  {
    name: 'test_pages_first',
    description: 'Refuses to run until the user has opened a page',
    inputSchema: noArguments,
    run: (call) => {
      if (call.answers['consent'] === undefined)
        throw new PagesFirst({
          consent: { message: 'Please agree first', url: 'https://example.com/consent' },
        })
      return says('Agreed')
    },
  },
  {
    name: 'test_sampling',
    description: 'Asks the model of the client',
    inputSchema: {
      type: 'object',
      properties: { prompt: { type: 'string', description: 'What the model is asked' } },
      required: ['prompt'],
    },
    run: (call) => {
      const answer = sampled(call, 'completion')
      return answer === undefined
        ? { questions: { completion: sample(String(call.arguments['prompt']), 100) } }
        : says(`LLM response: ${answer}`)
    },
  },
  {
    name: 'test_list_roots',
    description: 'Asks for the roots of the client',
    inputSchema: noArguments,
    run: (call) => {
      const uris = rootUris(call, 'roots')
      return uris === undefined ? { questions: { roots } } : says(`Roots: ${uris.join(', ')}`)
    },
  },
  {
    name: 'test_missing_capability',
    description: 'Cannot run when the client has no model',
    inputSchema: noArguments,
    run: (call) =>
      sampled(call, 'word') === undefined
        ? { questions: { word: sample('Say one word', 10) } }
        : says('The client can sample'),
  },
  elicitingTool({
    name: 'test_streaming_elicitation',
    description: 'Asks for a colour',
    key: 'colour',
    question: () => form('Which colour?', { colour: { type: 'string' } }),
  }),
]

const nameQuestion = form('What is your name?', { name: { type: 'string' } })

/** The tools of the scenarios `input-required-result-*`. */
const roundTools: readonly Tool[] = [
  {
    name: 'test_input_required_result_elicitation',
    description: 'Asks for a name',
    inputSchema: noArguments,
    run: (call) => {
      const name = field(call, 'user_name', 'name')
      return name === undefined
        ? { questions: { user_name: nameQuestion } }
        : says(`Hello, ${name}!`)
    },
  },
  {
    name: 'test_input_required_result_sampling',
    description: 'Asks the model for a capital',
    inputSchema: noArguments,
    run: (call) => {
      const answer = sampled(call, 'capital_question')
      return answer === undefined
        ? { questions: { capital_question: sample('What is the capital of France?', 100) } }
        : says(answer)
    },
  },
  {
    name: 'test_input_required_result_list_roots',
    description: 'Asks for the roots',
    inputSchema: noArguments,
    run: (call) => {
      const uris = rootUris(call, 'client_roots')
      return uris === undefined
        ? { questions: { client_roots: roots } }
        : says(`Roots: ${uris.join(', ')}`)
    },
  },
  {
    name: 'test_input_required_result_request_state',
    description: 'Asks for a confirmation and expects its state back',
    inputSchema: noArguments,
    run: (call) => {
      if (elicited(call, 'confirm') === undefined || call.state !== 'asked')
        return {
          questions: { confirm: form('Please confirm', { ok: { type: 'boolean' } }) },
          state: 'asked',
        }
      return says('state-ok')
    },
  },
  {
    name: 'test_input_required_result_tampered_state',
    description: 'Asks for a confirmation with a state that must not be touched',
    inputSchema: noArguments,
    run: (call) => {
      if (elicited(call, 'confirm') === undefined || call.state !== 'sealed')
        return {
          questions: { confirm: form('Please confirm', { ok: { type: 'boolean' } }) },
          state: 'sealed',
        }
      return says('state-ok')
    },
  },
  {
    name: 'test_input_required_result_multiple_inputs',
    description: 'Asks for a name, a greeting and the roots at once',
    inputSchema: noArguments,
    run: (call) => {
      const name = field(call, 'user_name', 'name')
      const greeting = sampled(call, 'greeting')
      const uris = rootUris(call, 'client_roots')
      if (name === undefined || greeting === undefined || uris === undefined)
        return {
          questions: {
            user_name: nameQuestion,
            greeting: sample('Generate a greeting', 50),
            client_roots: roots,
          },
          state: 'three questions',
        }
      return says(`${greeting} ${name}, ${uris.length} roots`)
    },
  },
  {
    name: 'test_input_required_result_multi_round',
    description: 'Asks twice, one question after the other',
    inputSchema: noArguments,
    run: (call) => {
      const first = isRecord(call.state) ? call.state['name'] : undefined
      const name = typeof first === 'string' ? first : field(call, 'step1', 'name')
      if (name === undefined)
        return {
          questions: { step1: form('Step 1: What is your name?', { name: { type: 'string' } }) },
          state: { round: 1 },
        }
      const colour = field(call, 'step2', 'color')
      if (colour === undefined)
        return {
          questions: {
            step2: form('Step 2: What is your favorite color?', { color: { type: 'string' } }),
          },
          state: { round: 2, name },
        }
      return says(`${name} likes ${colour}`)
    },
  },
  {
    name: 'test_input_required_result_capabilities',
    description: 'Asks only what the client can answer',
    inputSchema: noArguments,
    run: (call) => {
      const questions = {
        ...(call.clientCapabilities['sampling'] === undefined
          ? {}
          : { greeting: sample('Generate a greeting', 50) }),
        ...(call.clientCapabilities['elicitation'] === undefined
          ? {}
          : { user_name: nameQuestion }),
        ...(call.clientCapabilities['roots'] === undefined ? {} : { client_roots: roots }),
      }
      const open = Object.keys(questions).filter((key) => call.answers[key] === undefined)
      return open.length > 0 ? { questions } : says('Nothing more to ask')
    },
  },
]

/** Every tool, in the order of the list. */
export const tools: readonly Tool[] = [
  ...contentTools,
  ...runningTools,
  ...announcingTools,
  ...askingTools,
  ...roundTools,
]

const user = (content: Json): Json => ({ role: 'user', content })

export const prompts: readonly Prompt[] = [
  {
    name: 'test_simple_prompt',
    description: 'A prompt without arguments',
    arguments: [],
    run: () => ({ messages: [user(text('This is a simple prompt for testing.'))] }),
  },
  {
    name: 'test_prompt_with_arguments',
    description: 'A prompt with two arguments',
    arguments: [
      { name: 'arg1', description: 'First test argument', required: true },
      { name: 'arg2', description: 'Second test argument', required: true },
    ],
    run: ({ arguments: { arg1, arg2 } }) => ({
      messages: [
        user(text(`Prompt with arguments: arg1='${String(arg1)}', arg2='${String(arg2)}'`)),
      ],
    }),
  },
  {
    name: 'test_prompt_with_embedded_resource',
    description: 'A prompt with a resource inside',
    arguments: [
      { name: 'resourceUri', description: 'URI of the resource to embed', required: true },
    ],
    run: ({ arguments: { resourceUri } }) => ({
      messages: [
        user({
          type: 'resource',
          resource: {
            uri: resourceUri,
            mimeType: 'text/plain',
            text: 'Embedded resource content for testing.',
          },
        }),
        user(text('Please process the embedded resource above.')),
      ],
    }),
  },
  {
    name: 'test_prompt_with_image',
    description: 'A prompt with an image',
    arguments: [],
    run: () => ({ messages: [user(image), user(text('Please analyze the image above.'))] }),
  },
  {
    name: 'test_input_required_result_prompt',
    description: 'A prompt that asks for its context first',
    arguments: [],
    run: (call) => {
      const context = field(call, 'user_context', 'context')
      return context === undefined
        ? {
            questions: {
              user_context: form('What context should the prompt use?', {
                context: { type: 'string' },
              }),
            },
          }
        : { messages: [user(text(`Use this context: ${context}`))] }
    },
  },
]

interface ListedPrompt extends Pick<Prompt, 'name' | 'description'> {
  readonly arguments: Prompt['arguments'][number][]
}

/** The tools as a server lists them. */
export function listedTools(): Omit<Tool, 'run'>[] {
  return tools.map(({ run: _run, ...tool }) =>
    tool.name === 'test_trigger_tool_change'
      ? { ...tool, description: changed('tools_list_changed', tool.description) }
      : tool,
  )
}

/** The prompts as a server lists them. */
export function listedPrompts(): ListedPrompt[] {
  return prompts.map(({ run: _run, ...prompt }, index) => ({
    ...prompt,
    description:
      index === 0 ? changed('prompts_list_changed', prompt.description) : prompt.description,
    arguments: [...prompt.arguments],
  }))
}

interface Resource {
  readonly uri: string
  readonly name: string
  readonly description: string
  readonly mimeType: string
  readonly content: { readonly text: string } | { readonly blob: string }
}

const storedResources: readonly Resource[] = [
  {
    uri: 'test://static-text',
    name: 'Static text',
    description: 'A resource of text',
    mimeType: 'text/plain',
    content: { text: 'This is the content of the static text resource.' },
  },
  {
    uri: 'test://static-binary',
    name: 'Static binary',
    description: 'A resource of bytes',
    mimeType: 'image/png',
    content: { blob: redPixel },
  },
  {
    uri: 'test://watched-resource',
    name: 'Watched resource',
    description: 'A resource to subscribe to',
    mimeType: 'text/plain',
    content: { text: 'Watched resource content.' },
  },
]

/** The resources as a server lists them. */
export function listedResources(): Omit<Resource, 'content'>[] {
  return storedResources.map(({ content: _content, ...entry }, index) => ({
    ...entry,
    description:
      index === 0 ? changed('resources_list_changed', entry.description) : entry.description,
  }))
}

export const resourceTemplates = [
  {
    uriTemplate: 'test://template/{id}/data',
    name: 'Template',
    description: 'A resource by its id',
    mimeType: 'application/json',
  },
] as const

/** The contents of a resource, or undefined if no resource has this URI. */
export function readResource(uri: string): { readonly contents: readonly Json[] } | undefined {
  const stored = storedResources.find((resource) => resource.uri === uri)
  if (stored !== undefined)
    return { contents: [{ uri, mimeType: stored.mimeType, ...stored.content }] }
  const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1]
  if (id === undefined) return undefined
  return {
    contents: [
      {
        uri,
        mimeType: 'application/json',
        text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }),
      },
    ],
  }
}

/** Completions of any argument: the words that begin with the value. */
export function complete(value: string): {
  readonly completion: {
    readonly values: string[]
    readonly total: number
    readonly hasMore: boolean
  }
} {
  const values = ['paris', 'park', 'party', 'test1', 'test2'].filter((word) =>
    word.startsWith(value),
  )
  return { completion: { values, total: values.length, hasMore: false } }
}
