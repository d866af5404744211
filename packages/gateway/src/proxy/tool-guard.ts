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
import { BoundedCache } from '../lib/bounded-cache.ts'
import { canonicalName } from '../lib/http/header-names.ts'
import { FilteredAnswer } from './filtered-answer.ts'
import { answeredHere } from './forward.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { Dispatching } from '../upstream/shared-connections.ts'
import { judgedMessages, pageOf, type JudgedMessage, type ListedTool } from './ruled-messages.ts'
import { monotonicNow } from '../lib/clock.ts'

type Options = Dispatcher.DispatchOptions
type Handler = Dispatcher.DispatchHandler

export interface ToolGuardOptions {
  /** What is registered by a name now. */
  readonly resource: (name: string) => Resource | undefined
  /** Bytes of answers that are held until they are whole. */
  readonly heldBytes: Shares
}

interface Known {
  readonly at: number
  /** What it says, or is being asked. */
  readonly tools: Promise<ReadonlyMap<string, ToolHints>>
}

/** So long what a server has said of its tools stands. */
const knownMs = 30_000
/** A tool that it has not named is asked for anew after so long. */
const unknownMs = 1000
const askTimeoutMs = 30_000
const noTool = compileToolRules([])
const mostPages = 100

/**
 * Rules of an adapter's tools, applied where requests leave for its server and answers come from it: what is judged is the very bytes that
 * the server gets, whichever era the client speaks. Where there are no rules, nothing is read and nothing stands in between.
 */
export class ToolGuard {
  readonly #options: ToolGuardOptions
  readonly #compiled = new WeakMap<readonly ToolRule[], ToolRules>()
  /** What servers have said of their tools, by replica and by whom they said it to: sessions and callers may see different ones. */
  readonly #known = new BoundedCache<string, Known>(2000)
  /** Who is told of denials of which calls. */
  readonly #watched = new Map<string, Set<() => void>>()
  #asked = 0

  constructor(options: ToolGuardOptions) {
    this.#options = options
  }

  /** Whether there are rules for an adapter now. */
  guards({ name, uid }: Resource): boolean {
    return this.#rules(name, uid) !== undefined
  }

  /**
   * Calls `denied` when a call of a request that is translated is refused, by its name or by what the server says of the tool: where calls
   * leave for the server, it cannot be told which request they came with. Gives what ends it.
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
      // A request that takes too long to judge is refused where it leaves.
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

  /** The way to a replica for a caller. The rules are those of the moment of each request. `denied` is called when they deny a call. */
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
    // It was removed while the request was on its way: its rules are not known any more, and its server may well be there.
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
    // The server is to answer in what can be read. Some compress unless they are told not to.
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
    // In the session and for the caller of the request, as lists may differ by these.
    const key = [
      upstream.replica.name,
      upstream.replica.startedAt,
      headers.get('mcp-session-id') ?? JSON.stringify([principal.issuer, principal.id]),
    ]
    this.#knownTools(
      key.join(' '),
      open.map(({ tool }) => tool),
      () =>
        listTools(
          { pool: via, held: () => this.#options.heldBytes.open(partyOf(principal)) },
          options,
          `"gateway-tools-${(this.#asked += 1)}"`,
          open[0]?.envelope,
        ),
    )
      .then((tools) => {
        // What the server does not name is not there.
        const denied = (tool: string): boolean => verdictOf(tool, tools.get(tool)) !== true
        if (calls.some(({ tool }) => denied(tool))) refuse(denied)
        else pass()
      })
      .catch((error: unknown) => handler.onError?.(error as Error))
  }

  async #knownTools(
    key: string,
    wanted: readonly string[],
    ask: () => Promise<ReadonlyMap<string, ToolHints>>,
  ): Promise<ReadonlyMap<string, ToolHints>> {
    const known = this.#known.get(key)
    if (known !== undefined) {
      const tools = await known.tools
      if (
        monotonicNow() - known.at <
        (wanted.every((tool) => tools.has(tool)) ? knownMs : unknownMs)
      )
        return tools
      // Another request may have begun to ask meanwhile.
      if (this.#known.get(key) !== known) return this.#knownTools(key, wanted, ask)
    }
    const asked: Known = { at: monotonicNow(), tools: ask() }
    this.#known.set(key, asked)
    asked.tools.catch(() => {
      if (this.#known.get(key) === asked) this.#known.delete(key)
    })
    return asked.tools
  }
}

/** The tools that a body of a client calls; of one that is refused for another reason, none. */
function calledTools(body: Buffer): readonly string[] {
  try {
    return judgedMessages(body).messages.flatMap(({ tool }) => tool ?? [])
  } catch {
    return []
  }
}

/** Calls that get the same verdict: of one caller with the same roles, of one tool. */
function callKey(uid: string, { issuer, id, roles }: Principal, tool: string): string {
  return JSON.stringify([uid, issuer, id, roles, tool])
}

/** What a client asks of a server. */
interface Asked {
  readonly messages: readonly JudgedMessage[]
  readonly batch: boolean
  /** How headers that name what the body is about disagree with it. */
  readonly mismatch: string | undefined
}

/** @throws GatewayError for what the server might read otherwise */
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

/** Servers may go by these headers alone (MCP 2026-07-28, transports, standard headers). */
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

/** All tools that a server lists, asked as the caller's own request asks. @throws GatewayError `upstream_failed` */
async function listTools(
  server: Pick<HttpUpstream, 'pool' | 'held'>,
  { path, headers }: { readonly path: string; readonly headers: readonly string[] },
  id: string,
  envelope: string | undefined,
): Promise<ReadonlyMap<string, ToolHints>> {
  const flat = new FlatHeaders(headers)
  const modern = flat.all('mcp-method').length > 0
  const own = flat.without((name) => ownOfCall.test(name))
  const found = new Map<string, ToolHints>()
  const twice = new Set<string>()
  let cursor: string | undefined
  for (let page = 0; page < mostPages; page += 1) {
    const params = [
      ...(cursor === undefined ? [] : [`"cursor":${cursor}`]),
      ...(envelope === undefined ? [] : [`"_meta":${envelope}`]),
    ]
    const body = requestMessage(id, 'tools/list', `{${params.join(',')}}`)
    const headers = modern ? [...own, 'mcp-method', 'tools/list'] : own
    const answered = await askOnce({ ...server, path, headers: () => headers }, body, id)
    for (const { name, hints } of answered.tools) {
      if (found.has(name)) twice.add(name)
      found.set(name, hints)
    }
    cursor = answered.next
    if (cursor === undefined) {
      // Which of two is called is not to be known.
      for (const name of twice) found.delete(name)
      return found
    }
  }
  throw unreadable()
}

/** Headers that belong to the one request. */
const ownOfCall =
  /^(mcp-method|mcp-name|mcp-param-.*|idempotency-key|last-event-id|content-length|accept-encoding)$/

function askOnce(
  upstream: HttpUpstream,
  body: string,
  id: string,
): Promise<NonNullable<ReturnType<typeof pageOf>>> {
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

/** Answers as for tools that are not there. Nothing of a batch that holds such a call is run. */
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

/** Gives an answer in the server's place. */
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

  /** The values of a name, in whichever spelling servers may take for it (RFC 3875 section 4.1.18). */
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
