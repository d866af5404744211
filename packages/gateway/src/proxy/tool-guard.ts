import { type HttpUpstream, readMessages, sendHttp, type Shares } from '@mcp-gateway/mcp-http'
import { decodeHeaderValue, errorAnswer, errorCode, requestMessage } from '@mcp-gateway/protocol'
import type { Dispatcher } from 'undici'
import { GatewayError } from '../core/errors.ts'
import { partyOf, type Principal } from '../core/principal.ts'
import { heldBytes, shortOf } from '../core/shares.ts'
import type { AdapterSpec, Resource } from '../core/resource.ts'
import {
  compileToolRules,
  Effort,
  type ToolHints,
  type ToolRule,
  type ToolRules,
} from '../core/tool-rules.ts'
import { canonicalName } from '../lib/http/header-names.ts'
import { FilteredAnswer } from './filtered-answer.ts'
import { answeredHere } from './forward.ts'
import { KnownTools, ToolList } from './known-tools.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { Dispatching } from '../upstream/shared-connections.ts'
import {
  judgedMessages,
  pageOf,
  type JudgedMessage,
  type ListedTool,
  type Page,
} from './ruled-messages.ts'

type Options = Dispatcher.DispatchOptions
type Handler = Dispatcher.DispatchHandler

export interface ToolGuardOptions {
  /** The resource that is registered under a name now. */
  readonly resource: (name: string) => Resource | undefined
  /** Counts the bytes of answers that are held until they are whole. */
  readonly heldBytes: Shares
}

const askTimeoutMs = 30_000
const noTool = compileToolRules([])
const mostPages = 100
/** Characters that all pages of one list may have together. */
const mostRead = 64 * 1024 * 1024

/**
 * Applies an adapter's tool rules where requests leave for its server and answers return, so that
 * they judge the very bytes that the server gets, in any era. Without rules, it reads nothing.
 */
export class ToolGuard {
  readonly #options: ToolGuardOptions
  readonly #compiled = new WeakMap<readonly ToolRule[], ToolRules>()
  /**
   * Lists of tools, by replica and by session or caller, because each of these may see another
   * list.
   */
  readonly #known = new KnownTools()
  /** The listeners for denied calls, by call. */
  readonly #watched = new Map<string, Set<() => void>>()
  #asked = 0

  constructor(options: ToolGuardOptions) {
    this.#options = options
  }

  /** True if the adapter has tool rules now. */
  guards({ name, uid }: Resource): boolean {
    return this.#rules(name, uid) !== undefined
  }

  /**
   * Calls `denied` when the rules refuse a call of a translated request. Such a call leaves for the
   * server without a link to its request. Returns the function that stops watching.
   * @throws GatewayError `invalid_request` for a batch of several calls, of which some could run
   */
  watchDenials(
    { name, uid }: Resource,
    principal: Principal,
    body: Buffer | null,
    denied: () => void,
  ): (() => void) | undefined {
    const rules = this.#rules(name, uid)
    if (rules === undefined || body === null) return undefined
    const tools = calledTools(body)
    if (tools.length > 1)
      throw new GatewayError('invalid_request', {
        detail:
          'The server speaks another era than this client, so that each call of a batch would be ' +
          'judged and run by itself. Send calls of an adapter with tool rules one by one.',
      })
    try {
      const effort = new Effort()
      if (tools.some((tool) => rules.allows(principal, tool, undefined, effort) === false)) denied()
    } catch {
      // A request that takes too long to judge is refused later, on its way to the server.
    }
    const keys = tools.map((tool) => callKey(uid, principal, tool))
    for (const key of keys)
      this.#watched.set(key, (this.#watched.get(key) ?? new Set()).add(denied))
    return () => {
      for (const key of keys) {
        const watching = this.#watched.get(key)
        watching?.delete(denied)
        if (watching?.size === 0) this.#watched.delete(key)
      }
    }
  }

  /**
   * The way to a replica for one caller. Each request is judged by the rules of its moment.
   * `denied` is called when the rules deny a call.
   */
  to(
    upstream: Upstream,
    { name, uid }: Resource,
    principal: Principal,
    denied?: () => void,
  ): Dispatching {
    const told = (tools: readonly string[]): void => {
      if (denied !== undefined) return denied()
      for (const tool of tools)
        for (const watching of this.#watched.get(callKey(uid, principal, tool)) ?? []) watching()
    }
    const via = upstream.via(partyOf(principal))
    return {
      dispatch: (options, handler) => {
        const rules = this.#rules(name, uid)
        if (rules === undefined) return via.dispatch(options, handler)
        this.#guarded(rules, upstream, via, principal, options, handler, told)
        return true
      },
    }
  }

  #rules(name: string, uid: string): ToolRules | undefined {
    const resource = this.#options.resource(name)
    // The adapter was removed while the request was on its way. Its rules are gone, but its server
    // may still run.
    if (resource?.uid !== uid) return noTool
    const { toolRules } = resource.spec as AdapterSpec
    if (toolRules === undefined) return undefined
    let rules = this.#compiled.get(toolRules)
    if (rules === undefined) this.#compiled.set(toolRules, (rules = compileToolRules(toolRules)))
    return rules
  }

  #guarded(
    rules: ToolRules,
    upstream: Upstream,
    via: Dispatching,
    principal: Principal,
    given: Options,
    handler: Handler,
    told: (tools: readonly string[]) => void,
  ): void {
    const headers = new FlatHeaders(given.headers as readonly string[])
    // The gateway must be able to read the answer. Some servers compress unless a client forbids
    // it.
    const readable = headers.without((name) => name === 'accept-encoding')
    const options = { ...given, headers: [...readable, 'accept-encoding', 'identity'] }
    let asked: Asked
    try {
      asked = readRequest(given, headers)
    } catch (error) {
      return handler.onError?.(error as GatewayError)
    }
    if (asked.mismatch !== undefined)
      return answer(
        handler,
        400,
        errorAnswer(
          asked.messages[0]?.id,
          errorCode.headerMismatch,
          `Bad Request: ${asked.mismatch}`,
        ),
      )
    const pass = (): void => {
      const isList = ({ method }: JudgedMessage): boolean => method === 'tools/list'
      const judge = (): ((tool: ListedTool) => boolean) => {
        const effort = new Effort()
        return ({ name, hints }) => rules.allows(principal, name, hints, effort) === true
      }
      via.dispatch(
        options,
        new FilteredAnswer(handler, {
          lists: asked.messages.some(isList),
          repeatable: asked.messages.every(isList),
          judge,
          restricted: rules.byRole,
          ids: asked.messages.flatMap(({ id, method }) =>
            id === undefined || method === undefined ? [] : [id],
          ),
          share: this.#options.heldBytes.open(partyOf(principal)),
        }),
      )
    }
    const calls = asked.messages.flatMap(({ tool, envelope }) =>
      tool === undefined ? [] : [{ tool, envelope }],
    )
    const effort = new Effort()
    const verdictOf = (tool: string, hints?: ToolHints): boolean | undefined =>
      rules.allows(principal, tool, hints, effort)
    let verdicts: (boolean | undefined)[]
    try {
      verdicts = calls.map(({ tool }) => verdictOf(tool))
    } catch (error) {
      return handler.onError?.(error as GatewayError)
    }
    const refuse = (denied: (tool: string) => boolean): void => {
      told(calls.flatMap(({ tool }) => (denied(tool) ? [tool] : [])))
      deny(handler, asked, denied)
    }
    if (verdicts.includes(false)) return refuse((tool) => verdictOf(tool) === false)
    const open = calls.filter((_, index) => verdicts[index] === undefined)
    if (open.length === 0) return pass()
    // By session and caller, because lists may differ by these.
    const key = [
      upstream.replica.name,
      upstream.replica.startedAt,
      headers.get('mcp-session-id') ?? JSON.stringify([principal.issuer, principal.id]),
    ]
    const wanted = open.map(({ tool }) => tool)
    const caller = partyOf(principal)
    const ask = async (): Promise<ToolList> => {
      const list = new ToolList(wanted)
      await listTools(
        { pool: via, held: () => this.#options.heldBytes.open(caller) },
        options,
        `"gateway-tools-${(this.#asked += 1)}"`,
        open[0]?.envelope,
        list,
      )
      return list
    }
    this.#known
      .of(key.join(' '), caller, wanted, ask)
      .then((tools) => {
        // A tool that the server does not list does not exist.
        const denied = (tool: string): boolean => verdictOf(tool, tools.get(tool)) !== true
        if (calls.some(({ tool }) => denied(tool))) refuse(denied)
        else pass()
      })
      .catch((error: unknown) => handler.onError?.(error as Error))
  }
}

/** The tools that a client's body calls. Empty if the body is refused for another reason. */
function calledTools(body: Buffer): readonly string[] {
  try {
    return judgedMessages(body).messages.flatMap(({ tool }) => tool ?? [])
  } catch {
    return []
  }
}

/** A key for calls that get the same verdict: same caller, same roles, same tool. */
function callKey(uid: string, { issuer, id, roles }: Principal, tool: string): string {
  return JSON.stringify([uid, issuer, id, roles, tool])
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

/**
 * Asks the server for all its tools, with the headers of the caller's own request, and adds them to
 * `list`.
 * @throws GatewayError `upstream_failed`
 */
async function listTools(
  server: Pick<HttpUpstream, 'pool' | 'held'>,
  { path, headers }: { readonly path: string; readonly headers: readonly string[] },
  id: string,
  envelope: string | undefined,
  list: ToolList,
): Promise<void> {
  const flat = new FlatHeaders(headers)
  const modern = flat.all('mcp-method').length > 0
  const own = flat.without((name) => ownOfCall.test(name))
  let read = 0
  let cursor: string | undefined
  for (let page = 0; page < mostPages; page += 1) {
    const params = [
      ...(cursor === undefined ? [] : [`"cursor":${cursor}`]),
      ...(envelope === undefined ? [] : [`"_meta":${envelope}`]),
    ]
    const body = requestMessage(id, 'tools/list', `{${params.join(',')}}`)
    const headers = modern ? [...own, 'mcp-method', 'tools/list'] : own
    const answered = await askOnce({ ...server, path, headers: () => headers }, body, id)
    for (const tool of answered.tools) list.add(tool)
    cursor = answered.next
    if (cursor === undefined) return
    read += answered.length
    if (read > mostRead) break
  }
  throw unreadable()
}

/** Headers that belong to one request only. */
const ownOfCall =
  /^(mcp-method|mcp-name|mcp-param-.*|idempotency-key|last-event-id|content-length|accept-encoding)$/

function askOnce(upstream: HttpUpstream, body: string, id: string): Promise<Page> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      exchange.abort()
      reject(
        new GatewayError('upstream_timeout', {
          detail: 'The server did not list its tools in time, which its rules ask for.',
        }),
      )
    }, askTimeoutMs)
    const exchange = sendHttp(
      upstream,
      { method: 'POST', headers: [], body, answerTimeoutMs: askTimeoutMs },
      readMessages(
        {
          message: (text) => {
            const page = pageOf(text, id)
            if (page === undefined) return
            clearTimeout(timer)
            resolve(page)
            exchange.abort()
          },
          end: ({ failure }) => {
            clearTimeout(timer)
            // The call itself has not been sent yet.
            if (failure?.code === 'answer_dropped') return reject(shortOf('caller', heldBytes))
            reject(
              failure?.unsent === true
                ? new GatewayError('upstream_unreachable', { cause: failure.message })
                : unreadable(),
            )
          },
        },
        () => exchange.abort(),
      ),
    )
  })
}

function unreadable(): GatewayError {
  return new GatewayError('upstream_failed', {
    detail:
      'The server does not say which tools it has, which its rules ask for. The request was not run.',
  })
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

/** Headers as undici takes them: name, value, name, value. */
class FlatHeaders {
  readonly #flat: readonly string[]

  constructor(flat: readonly string[]) {
    this.#flat = flat
  }

  /**
   * The values of a name, in any spelling that servers may take for it (RFC 3875 section 4.1.18).
   */
  all(name: string): string[] {
    return this.#flat.filter(
      (_, index) => index % 2 === 1 && canonicalName(this.#flat[index - 1] as string) === name,
    )
  }

  get(name: string): string | undefined {
    return this.all(name)[0]
  }

  without(drops: (name: string) => boolean): string[] {
    return this.#flat.filter(
      (_, index) => !drops(canonicalName(this.#flat[index - (index % 2)] as string)),
    )
  }
}
