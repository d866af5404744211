import type { Shares } from '@mcp-gateway/mcp-http'
import { decodeHeaderValue, errorAnswer, errorCode } from '@mcp-gateway/protocol'
import type { Dispatcher } from 'undici'
import { GatewayError } from '../core/errors.ts'
import { callerKey, partyOf, type Principal } from '../core/principal.ts'
import { Effort, type ToolHints, type ToolRules } from '../core/fields/tool-rules.ts'
import type { Dispatching } from '../upstream/shared-connections.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { FilteredAnswer } from './filtered-answer.ts'
import { FlatHeaders } from './flat-headers.ts'
import { answeredHere } from './answered-here.ts'
import { ToolList, type KnownTools } from './known-tools.ts'
import { listTools } from './listed-tools.ts'
import { judgedMessages, type JudgedMessage, type ListedTool } from './ruled-messages.ts'

type Options = Dispatcher.DispatchOptions
type Handler = Dispatcher.DispatchHandler

/** The rules and the ways by which requests of one caller to one replica are judged. */
export interface Guarding {
  readonly rules: ToolRules
  readonly upstream: Upstream
  readonly via: Dispatching
  readonly principal: Principal
  /** Counts the bytes of answers that are held until they are whole. */
  readonly heldBytes: Shares
  readonly known: KnownTools
  /** Receives the tools whose calls the rules deny. */
  readonly told: (tools: readonly string[]) => void
  /** Makes the JSON of an id for a question of the gateway. */
  readonly newId: () => string
}

/** Sends a request on to the server if the rules allow it, or answers it in the server's place. */
export function guardRequest(guarding: Guarding, given: Options, handler: Handler): void {
  const headers = new FlatHeaders(given.headers as readonly string[])
  let asked: Asked
  try {
    asked = readRequest(given, headers)
  } catch (error) {
    return handler.onError?.(error as GatewayError)
  }
  if (asked.mismatch === undefined)
    return new GuardedRequest(guarding, asked, headers, given, handler).judge()

  const { id } = asked.messages[0] ?? {}
  const text = `Bad Request: ${asked.mismatch}`
  answer(handler, 400, errorAnswer(id, errorCode.headerMismatch, text))
}

interface AskedCall {
  readonly tool: string
  readonly envelope: string | undefined
}

/** One request that every reader reads alike: judged, then passed on or refused. */
class GuardedRequest {
  readonly #guarding: Guarding
  readonly #asked: Asked
  readonly #headers: FlatHeaders
  readonly #options: Options & { readonly headers: readonly string[] }
  readonly #handler: Handler
  readonly #calls: readonly AskedCall[]
  readonly #effort = new Effort()

  constructor(
    guarding: Guarding,
    asked: Asked,
    headers: FlatHeaders,
    given: Options,
    handler: Handler,
  ) {
    this.#guarding = guarding
    this.#asked = asked
    this.#headers = headers
    this.#handler = handler
    // The gateway must be able to read the answer. Some servers compress unless a client forbids
    // it.
    const readable = headers.without((name) => name === 'accept-encoding')
    this.#options = { ...given, headers: [...readable, 'accept-encoding', 'identity'] }
    this.#calls = asked.messages.flatMap(({ tool, envelope }) =>
      tool === undefined ? [] : [{ tool, envelope }],
    )
  }

  judge(): void {
    let verdicts: (boolean | undefined)[]
    try {
      verdicts = this.#calls.map(({ tool }) => this.#verdictOf(tool))
    } catch (error) {
      return this.#handler.onError?.(error as GatewayError)
    }
    if (verdicts.includes(false)) return this.#refuse((tool) => this.#verdictOf(tool) === false)

    const open = this.#calls.filter((_, index) => verdicts[index] === undefined)
    if (open.length === 0) this.#pass()
    else this.#judgeByHints(open)
  }

  /** Judges calls whose verdict depends on the hints that the server gives with its tools. */
  #judgeByHints(open: readonly AskedCall[]): void {
    this.#toolsOf(open)
      .then((tools) => {
        // A tool that the server does not list does not exist.
        const denied = (tool: string): boolean => this.#verdictOf(tool, tools.get(tool)) !== true
        if (this.#calls.some(({ tool }) => denied(tool))) this.#refuse(denied)
        else this.#pass()
      })
      .catch((error: unknown) => this.#handler.onError?.(error as Error))
  }

  /** The server's tools, as its caller sees them. */
  #toolsOf(open: readonly AskedCall[]): ReturnType<KnownTools['of']> {
    const { upstream, via, principal, heldBytes, known, newId } = this.#guarding
    const { name, startedAt } = upstream.replica
    const session = this.#headers.get('mcp-session-id')
    // Lists may differ by session, by caller, and by the caller's roles.
    const key = JSON.stringify([name, startedAt, session, callerKey(principal)])
    const wanted = open.map(({ tool }) => tool)
    const caller = partyOf(principal)

    return known.of(key, caller, wanted, async () => {
      const list = new ToolList(wanted)
      const server = { pool: via, held: () => heldBytes.open(caller) }
      await listTools(server, this.#options, newId(), open[0]?.envelope, list)
      return list
    })
  }

  #verdictOf(tool: string, hints?: ToolHints): boolean | undefined {
    const { rules, principal } = this.#guarding
    return rules.allows(principal, tool, hints, this.#effort)
  }

  #refuse(denied: (tool: string) => boolean): void {
    this.#guarding.told(this.#calls.flatMap(({ tool }) => (denied(tool) ? [tool] : [])))
    deny(this.#handler, this.#asked, denied)
  }

  #pass(): void {
    const { rules, via, principal, heldBytes } = this.#guarding
    const { messages } = this.#asked
    const isList = ({ method }: JudgedMessage): boolean => method === 'tools/list'
    const judge = (): ((tool: ListedTool) => boolean) => {
      const effort = new Effort()
      return ({ name, hints }) => rules.allows(principal, name, hints, effort) === true
    }

    via.dispatch(
      this.#options,
      new FilteredAnswer(this.#handler, {
        lists: messages.some(isList),
        repeatable: messages.every(isList),
        judge,
        restricted: rules.byRole,
        ids: messages.flatMap(({ id, method }) =>
          id === undefined || method === undefined ? [] : [id],
        ),
        share: heldBytes.open(partyOf(principal)),
      }),
    )
  }
}

/** A client's request to a server. */
interface Asked {
  readonly messages: readonly JudgedMessage[]
  readonly batch: boolean
  /** Says how the headers that describe the body disagree with the body. */
  readonly mismatch: string | undefined
}

/** @throws GatewayError if the server might read the request differently */
function readRequest({ method, body }: Options, headers: FlatHeaders): Asked {
  const bytes = typeof body === 'string' ? Buffer.from(body) : ((body ?? nothing) as Buffer)
  if (method !== 'POST') {
    if (bytes.length > 0)
      throw new GatewayError('invalid_request', {
        detail: `A ${method} must not have a body here.`,
      })
    return { messages: [], batch: false, mismatch: undefined }
  }
  const types = headers.all('content-type')
  if (
    types.length !== 1 ||
    !/^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?$/i.test(types[0] ?? '')
  )
    throw new GatewayError('unsupported_media_type', {
      detail: 'The body must be application/json in UTF-8, said once.',
    })
  if (headers.all('content-encoding').some((coding) => coding.toLowerCase() !== 'identity'))
    throw new GatewayError('unsupported_media_type', {
      detail: 'The body must not be compressed here.',
    })
  const { messages, batch } = judgedMessages(bytes)
  return {
    messages,
    batch,
    mismatch: batch ? batchMismatch(headers) : messageMismatch(messages[0], headers),
  }
}

/** Servers may rely on these headers alone (MCP 2026-07-28, transports, standard headers). */
function messageMismatch(
  message: JudgedMessage | undefined,
  headers: FlatHeaders,
): string | undefined {
  const methods = headers.all('mcp-method')
  const names = headers.all('mcp-name')
  if (methods.some((method) => method.trim() !== message?.method))
    return 'the header Mcp-Method and the body name different methods.'
  if (
    message?.tool !== undefined &&
    names.some((name) => decodeHeaderValue(name.trim()) !== message.tool)
  )
    return 'the header Mcp-Name and params.name differ.'
  return undefined
}

function batchMismatch(headers: FlatHeaders): string | undefined {
  return headers.all('mcp-method').length + headers.all('mcp-name').length > 0
    ? 'the headers name one message, and the body holds a batch.'
    : undefined
}

/** Answers as if the denied tools did not exist. No other request of the batch runs either. */
function deny(
  handler: Handler,
  { messages, batch }: Asked,
  denied: (tool: string) => boolean,
): void {
  const answers = messages
    .filter(({ id, method }) => id !== undefined && method !== undefined)
    .map(({ id, tool }) =>
      tool !== undefined && denied(tool)
        ? errorAnswer(id, errorCode.invalidParams, `Unknown tool: ${tool.slice(0, 200)}`)
        : errorAnswer(
            id,
            errorCode.invalidRequest,
            'Not run, as another request of the batch names an unknown tool.',
          ),
    )
  if (answers.length === 0) answer(handler, 202, '')
  else answer(handler, 200, batch ? `[${answers.join(',')}]` : (answers[0] as string))
}

/** Answers in the server's place. */
function answer(handler: Handler, status: number, text: string): void {
  let aborted: Error | undefined
  handler.onConnect?.((reason) => (aborted = reason ?? new Error('aborted')))
  if (aborted === undefined) {
    const body = Buffer.from(text)
    const type = text === '' ? [] : ['content-type', 'application/json']
    const headers = [...type, 'content-length', String(body.length)].map((part) =>
      Buffer.from(part),
    )
    handler.onHeaders?.(status, headers, () => undefined, answeredHere)
    if (aborted === undefined) {
      if (body.length > 0) handler.onData?.(body)
      return handler.onComplete?.([])
    }
  }
  handler.onError?.(aborted)
}

const nothing = Buffer.alloc(0)
