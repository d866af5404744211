import {
  errorCode,
  metaKey,
  readArray,
  readObject,
  readString,
  writeObject,
  type Exchange,
  type RawObject,
} from '@mcp-gateway/protocol'
import { listLimits } from '../lists/member-list.ts'
import type { AggregateCaller, Member } from '../members/member.ts'
import { memberCapabilities } from '../members/questions.ts'
import { shownUri } from '../names/uris.ts'

export interface SubscriptionOptions {
  readonly caller: AggregateCaller
  readonly member: Member
  /** The envelope of the client's request. */
  readonly meta: RawObject
  /** The addresses at the member, with those that the client sees. */
  readonly wanted: ReadonlyMap<string, string>
  /** True if changes before the stream stands may have been missed. */
  readonly missed: boolean
  /** A resource has changed, or may have changed while the member was away. */
  readonly updated: (shown: string) => void
}

/** Milliseconds before a lost stream is opened again: at first, and at most. */
const pauseMs = { first: 500, longest: 5000 }

/**
 * A listen stream to one member for the resources of one client. When the member is away, the
 * stream is opened again and again; then every resource counts as updated, as changes were missed.
 */
export class Subscription {
  readonly #options: SubscriptionOptions
  readonly #accepted: Promise<readonly string[]>
  #accept: (uris: readonly string[]) => void = () => undefined
  #exchange: Exchange | undefined
  #timer: NodeJS.Timeout | undefined
  #pauseMs = pauseMs.first
  #missed: boolean
  #next = 0

  constructor(options: SubscriptionOptions) {
    this.#options = options
    this.#missed = options.missed
    this.#accepted = new Promise((resolve) => (this.#accept = resolve))
    this.#open()
  }

  /**
   * The addresses, as the client sees them, that the member accepts. A member that does not answer
   * in time counts as away, and is subscribed to later.
   */
  async accepted(timeoutMs: number): Promise<readonly string[]> {
    const all = [...this.#options.wanted.values()]
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<readonly string[]>((resolve) => {
      timer = setTimeout(() => resolve(all), timeoutMs).unref()
    })
    try {
      return await Promise.race([this.#accepted, late])
    } finally {
      clearTimeout(timer)
    }
  }

  close(): void {
    clearTimeout(this.#timer)
    const exchange = this.#exchange
    this.#exchange = undefined
    this.#timer = undefined
    if (exchange !== undefined) this.#options.member.gone(exchange)
  }

  #open(): void {
    const { caller, member, meta, wanted } = this.#options
    const exchange: Exchange = {
      tell: (text) => (this.#exchange === exchange ? this.#told(text) : undefined),
      answer: (_status, text) => (this.#exchange === exchange ? this.#ended(text) : undefined),
    }
    this.#exchange = exchange
    const filter = `{"resourceSubscriptions":${JSON.stringify([...wanted.keys()])}}`
    const own = new Map(meta)
    own.delete('progressToken')
    // Calls declare the same, so a legacy member gets both on one session.
    const declared = own.get(metaKey.clientCapabilities)
    own.set(metaKey.clientCapabilities, memberCapabilities(declared, member.questions))
    const params: RawObject = new Map([
      ['notifications', filter],
      ['_meta', writeObject(own)],
    ])
    const id = `"listen-${(this.#next += 1)}"`
    member.request(caller, { id, method: 'subscriptions/listen', params, meta: own }, exchange)
  }

  #told(text: string): void {
    const message = readObject(text)
    const params = readObject(message?.get('params'))
    switch (readString(message?.get('method')) ?? '') {
      case 'notifications/subscriptions/acknowledged':
        return this.#stands(readObject(params?.get('notifications')))
      case 'notifications/resources/updated': {
        const uri = readString(params?.get('uri'))
        if (uri !== undefined) this.#updated(uri)
        return
      }
      default:
    }
  }

  #stands(honoured: RawObject | undefined): void {
    const { wanted, updated } = this.#options
    const uris = readArray(honoured?.get('resourceSubscriptions')) ?? []
    const shown = uris.flatMap((raw) => wanted.get(readString(raw) ?? '') ?? [])
    this.#accept(shown)
    this.#pauseMs = pauseMs.first
    if (this.#missed) for (const each of shown) updated(each)
    this.#missed = false
  }

  /** A server may report a part of a resource that the client has subscribed to. */
  #updated(uri: string): void {
    const { member, updated, wanted } = this.#options
    const shown = wanted.get(uri)
    if (shown !== undefined) updated(shown)
    else if (uri.length <= listLimits.keyLength) updated(shownUri(member.alias, uri))
  }

  #ended(text: string): void {
    this.#exchange = undefined
    const code = Number(readObject(readObject(text)?.get('error'))?.get('code'))
    // The server has no such streams, so there is no use in asking again.
    if (code === errorCode.methodNotFound || code === errorCode.invalidParams)
      return this.#accept([])

    this.#missed = true
    this.#timer = setTimeout(() => this.#open(), this.#pauseMs).unref()
    this.#pauseMs = Math.min(this.#pauseMs * 2, pauseMs.longest)
  }
}
