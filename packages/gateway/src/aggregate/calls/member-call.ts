import { randomBytes } from 'node:crypto'
import {
  errorAnswer,
  errorCode,
  giveResult,
  metaKey,
  readObject,
  readString,
  resultMessage,
  writeObject,
  type Exchange,
  type ModernRequest,
  type RawObject,
} from '@mcp-gateway/protocol'
import type { Absences } from './absences.ts'
import { removed } from './lookup.ts'
import type { Member } from '../members/member.ts'
import { showResult, type Clashes } from './member-messages.ts'
import { lacks, memberCapabilities, passQuestions } from '../members/questions.ts'
import type { ShownItem } from '../catalogue/shown-item.ts'
import { declaresTasks } from './tasks.ts'

/** The parts of an aggregate that one call to a member needs. */
export interface CallContext {
  readonly member: Member
  /** `serverInfo` of the aggregate, as raw JSON. */
  readonly serverInfo: string
  readonly clashes: Clashes
  /** Trace headers of the client's request, for members that hear no headers. */
  readonly trace: Readonly<Record<string, string>>
  /** Seals the state with which a client answers a question of the member. */
  readonly sealState: (state: string | undefined) => string
  /** The client's id of a new task of the member; undefined if the member's cannot be used. */
  readonly sealTask: (taskId: string) => string | undefined
  /** The client's id of the task that the request is about, if it is about one. */
  readonly task: string | undefined
  /** Shortens a result that is too long for the client. */
  readonly shorten: (result: RawObject) => RawObject
  /** Receives the code of the reason why the member did not serve. */
  readonly failed: (code: string) => void
  /** True if the request may run twice. */
  readonly runsTwice: boolean
  /** Sends the request once more, unless its client has left. */
  readonly again: () => void
  readonly absences: Pick<Absences, 'pauseMs' | 'end'>
  /** The call is over. */
  readonly over: () => void
}

/** The error of a connection that broke. A bridge whose server has ended says 502 without a code. */
const brokenOff = 'upstream_failed'
/** The error of a request that has not reached its server. */
const unreachable = 'upstream_unreachable'

/**
 * One request of a client on its way to a member and back. The member sees ids, tokens, names and
 * capabilities of its own; the client sees those of the aggregate.
 */
export class MemberCall implements Exchange {
  readonly #client: Exchange
  readonly #request: ModernRequest
  readonly #context: CallContext
  /** Guessed by nobody, so that no other call's member can report progress for this one. */
  #token: string | undefined
  #progress = Number.NEGATIVE_INFINITY
  #over = false
  #repeated = false
  /** Attempts that did not reach the member. */
  #unsent = 0

  constructor(client: Exchange, request: ModernRequest, context: CallContext) {
    this.#client = client
    this.#request = request
    this.#context = context
  }

  /** The request as the member gets it. Changes `params`. */
  requestFor(id: string, params: RawObject): ModernRequest {
    const { method } = this.#request
    const meta = new Map(this.#request.meta)
    for (const [name, value] of Object.entries(this.#context.trace))
      if (!meta.has(name)) meta.set(name, JSON.stringify(value))
    const capabilities = memberCapabilities(
      meta.get(metaKey.clientCapabilities),
      this.#context.member.questions,
    )
    meta.set(metaKey.clientCapabilities, capabilities)
    if (this.#clientToken !== undefined) {
      this.#token = JSON.stringify(randomBytes(12).toString('base64url'))
      meta.set('progressToken', this.#token)
    }
    params.delete('_meta')
    return { id, method, meta, params }
  }

  tell(text: string): void {
    const message = readObject(text)
    const params = new Map(readObject(message?.get('params')))
    if (this.#over || message === undefined) return
    switch (readString(message.get('method')) ?? '') {
      case 'notifications/progress':
        return this.#tellProgress(params)
      case 'notifications/message':
        return this.#tellLog(params)
      default:
      // Notifications of lists and resources travel on listen streams alone.
    }
  }

  answer(status: number, text: string): void {
    if (this.#over) return
    const message = readObject(text)
    const error = readObject(message?.get('error')) ?? new Map<string, string>()
    const code = codeOf(error) ?? (status === 502 ? brokenOff : undefined)
    if (code === unreachable ? this.#waits() : this.#repeats(code)) return

    const result = readObject(message?.get('result'))
    if (result !== undefined) return this.give(result)
    this.#over = true
    this.#context.over()
    this.#answerError(status, error)
  }

  give(result: RawObject): void {
    if (this.#over) return
    const { absences, member } = this.#context
    absences.end(member.alias)
    this.#over = true
    this.#context.over()
    this.#answerResult(result)
  }

  /** Sends a request again that has not reached its member, unless the member stays away. */
  #waits(): boolean {
    const { absences, again, member } = this.#context
    const pauseMs = absences.pauseMs(member.alias, (this.#unsent += 1))
    if (pauseMs !== undefined) setTimeout(again, pauseMs).unref()
    return pauseMs !== undefined
  }

  /** Sends a request once more if its server broke off, and if the request may run twice. */
  #repeats(code: string | undefined): boolean {
    const { absences, again, member, runsTwice } = this.#context
    absences.end(member.alias)
    if (!runsTwice || this.#repeated || code !== brokenOff) return false
    this.#repeated = true
    setImmediate(again)
    return true
  }

  /** Ends the call for a caller who may no longer use the member. */
  revoke(): void {
    if (this.#over) return
    this.#over = true
    this.#context.over()
    const text = errorAnswer(this.#request.id, errorCode.invalidParams, removed)
    this.#client.answer(200, text)
  }

  get #clientToken(): string | undefined {
    const token = this.#request.meta.get('progressToken')
    return token === 'null' ? undefined : token
  }

  /** Passes progress on if it belongs to this call and grows (MCP, progress). */
  #tellProgress(params: RawObject): void {
    const progress = Number(params.get('progress'))
    const token = this.#clientToken
    if (params.get('progressToken') !== this.#token || token === undefined) return
    if (!(progress > this.#progress)) return

    this.#progress = progress
    params.set('progressToken', token)
    this.#notify('notifications/progress', params)
  }

  /** Passes a log line on, under the name of its member. */
  #tellLog(params: RawObject): void {
    const { alias } = this.#context.member
    const logger = readString(params.get('logger'))
    params.set('logger', JSON.stringify(logger === undefined ? alias : `${alias}.${logger}`))
    this.#notify('notifications/message', params)
  }

  #notify(method: string, params: RawObject): void {
    this.#client.tell(
      `{"jsonrpc":"2.0","method":${JSON.stringify(method)},"params":${writeObject(params)}}`,
    )
  }

  #answerResult(result: RawObject): void {
    const { member, clashes, task } = this.#context
    const { meta, method } = this.#request
    const type = readString(result.get('resultType')) ?? 'complete'
    if (type === 'input_required') return this.#ask(result)
    if (type === 'task' && method === 'tools/call' && declaresTasks(meta))
      return this.#makeTask(result)
    // Servers that follow the first examples of the extension call the state of a task so, too.
    if (type === 'task' && task !== undefined) return this.#showTask(result, task)
    if (type !== 'complete')
      return this.#fail(200, `It answers with '${type.slice(0, 100)}', which was not asked for.`)

    if (task !== undefined) return this.#showTask(result, task)
    const shown = showResult(method, result, member.alias, clashes)
    this.#complete(this.#context.shorten(shown))
  }

  /** The member has made a task of the call. Its id means nothing outside the member. */
  #makeTask(result: RawObject): void {
    const own = readString(result.get('taskId'))
    const taskId = own === undefined ? undefined : this.#context.sealTask(own)
    if (taskId === undefined)
      return this.#fail(200, 'It answers with a task whose id is missing or too long.')
    this.#complete(result.set('taskId', JSON.stringify(taskId)))
  }

  /** Shows the state of a task, with its questions and its result. */
  #showTask(result: RawObject, task: string): void {
    const { member, clashes, shorten } = this.#context
    const shown = result.set('resultType', '"complete"')
    if (result.has('taskId')) shown.set('taskId', JSON.stringify(task))

    const asked = result.get('inputRequests')
    if (asked !== undefined) {
      const passed = passQuestions(asked, member.title, member.questions)
      if ('refused' in passed) return this.#fail(200, passed.refused)
      shown.set('inputRequests', passed.inputRequests)
    }
    const whole = readObject(result.get('result'))
    if (whole !== undefined)
      shown.set(
        'result',
        writeObject(shorten(showResult('tools/call', whole, member.alias, clashes))),
      )
    this.#complete(shown)
  }

  #ask(result: RawObject): void {
    const { member, sealState } = this.#context
    const passed = passQuestions(result.get('inputRequests'), member.title, member.questions)
    if ('refused' in passed) return this.#fail(200, passed.refused)

    const asked = result.set('inputRequests', passed.inputRequests)
    asked.set('requestState', JSON.stringify(sealState(result.get('requestState'))))
    this.#complete(asked)
  }

  #complete(result: RawObject): void {
    const meta = readObject(result.get('_meta')) ?? new Map<string, string>()
    meta.set(metaKey.serverInfo, this.#context.serverInfo)
    result.set('_meta', writeObject(meta))
    if (!result.has('resultType')) result.set('resultType', '"complete"')
    giveResult(this.#client, this.#request.id, result)
  }

  #answerError(status: number, error: RawObject): void {
    const code = Number(error.get('code'))
    if (code === errorCode.methodNotFound && this.#request.method === 'completion/complete')
      return this.#complete(emptyCompletion())
    const said = readString(error.get('message')) ?? 'The server gave no reason.'
    if (code === errorCode.missingCapability) return this.#answerIncapable(error, said)
    const ofHop = code <= errorCode.headerMismatch && code >= errorCode.unsupportedVersion
    // The member could not be reached, or disagrees with the gateway about this very hop.
    if (status >= 500 || ofHop) {
      this.#context.member.doubt()
      const reason = codeOf(error)
      if (reason !== undefined) this.#context.failed(reason)
      return this.#fail(status < 500 ? 200 : status, said, error.get('data'))
    }
    const known = new Map(error).set('message', JSON.stringify(said))
    if (!Number.isInteger(code)) known.set('code', String(errorCode.internal))
    this.#passError(status, known)
  }

  /** Only a client that did not declare a capability can help by declaring it. */
  #answerIncapable(error: RawObject, said: string): void {
    const required = readObject(error.get('data'))?.get('requiredCapabilities')
    const declared = this.#request.meta.get(metaKey.clientCapabilities)
    const names = [...(readObject(required)?.keys() ?? [])].join(', ')
    if (names === '' || lacks(declared, required))
      return this.#passError(400, new Map(error).set('message', JSON.stringify(said)))
    this.#fail(200, `${said} The virtual server holds back ${names} for this server.`)
  }

  #passError(status: number, error: RawObject): void {
    const text = `{"jsonrpc":"2.0","id":${this.#request.id},"error":${writeObject(error)}}`
    this.#client.answer(status, text)
  }

  /** Tells the client why a member did not serve. Models read the results of tools, not errors. */
  #fail(status: number, reason: string, data?: string): void {
    const { member, serverInfo } = this.#context
    const { id, method } = this.#request
    const text = `${member.title} (${member.alias}): ${reason}`
    if (method === 'tools/call') {
      const content = [{ type: 'text', text }]
      return this.#client.answer(
        200,
        resultMessage(
          id,
          `{"resultType":"complete","isError":true,"content":${JSON.stringify(content)},` +
            `"_meta":{${JSON.stringify(metaKey.serverInfo)}:${serverInfo}}}`,
        ),
      )
    }
    const origin = {
      member: member.name,
      ...(data === undefined ? {} : { cause: JSON.parse(data) }),
    }
    this.#client.answer(status, errorAnswer(id, errorCode.internal, text, origin))
  }
}

/** True for requests that only read, and for calls of tools that say so or are idempotent. */
export function mayRunTwice(
  { method, params }: Pick<ModernRequest, 'method' | 'params'>,
  tool: ShownItem | undefined,
): boolean {
  if (params.has('requestState')) return false
  if (method !== 'tools/call') return true
  return tool?.hints?.readOnlyHint === true || tool?.hints?.idempotentHint === true
}

function codeOf(error: RawObject): string | undefined {
  return readString(readObject(error.get('data'))?.get('code'))
}

/** The completion of servers that complete nothing. */
export function emptyCompletion(): RawObject {
  return new Map([
    ['completion', '{"values":[],"total":0,"hasMore":false}'],
    ['resultType', '"complete"'],
  ])
}
