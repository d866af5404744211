import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, request } from 'undici'
import { KeyVaultFailure, type FailureCode } from './failure.ts'

/** An answer of Azure. */
export interface AzureAnswer {
  readonly status: number
  header(name: string): string | undefined
  /** The members of a JSON object. Empty for any other body. */
  readonly body: Readonly<Record<string, unknown>>
}

export interface AzureRequest {
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  /** Makes the request a POST with this form. */
  readonly form?: Readonly<Record<string, string>>
  /** The name of the other side in errors, and the code of a failure to reach it. */
  readonly whom: string
  readonly unreachable: FailureCode
  /** True if the other side answers 404 and 410 while it is being updated. */
  readonly settles?: boolean
}

const timeoutMs = 10_000
/** Characters. A Key Vault secret has at most 25 KiB. */
const longestAnswer = 256 * 1024
const pausesMs = [500, 1500]

/** Calls Azure within bounds, and follows no redirects. */
export class AzureClient implements AsyncDisposable {
  readonly #agent = new Agent({ connect: { timeout: timeoutMs }, pipelining: 0 })
  readonly #over = new AbortController()

  /**
   * Asks again, a few times, while the other side is unavailable.
   * @throws KeyVaultFailure if the other side stays unavailable
   */
  async ask(asked: AzureRequest): Promise<AzureAnswer> {
    for (const pause of pausesMs) {
      const answer = await this.#once(asked).catch(() => undefined)
      if (answer !== undefined && !isAway(answer.status, asked)) return answer
      // At the start, only this timer keeps the process running.
      await sleep(pause, undefined, { signal: this.#over.signal }).catch(() => undefined)
      if (this.#over.signal.aborted) break
    }
    const answer = await this.#once(asked)
    if (!isAway(answer.status, asked)) return answer
    throw new KeyVaultFailure(asked.unreachable, `${asked.whom} answers HTTP ${answer.status}.`)
  }

  async #once({ url, headers, form, whom, unreachable }: AzureRequest): Promise<AzureAnswer> {
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(new Error('timeout')), timeoutMs)

    try {
      const {
        statusCode,
        headers: got,
        body,
      } = await request(url, {
        dispatcher: this.#agent,
        method: form === undefined ? 'GET' : 'POST',
        headers: {
          ...headers,
          accept: 'application/json',
          ...(form && { 'content-type': 'application/x-www-form-urlencoded' }),
        },
        body: form === undefined ? null : new URLSearchParams(form).toString(),
        signal: AbortSignal.any([late.signal, this.#over.signal]),
      })

      let text = ''
      for await (const chunk of body.setEncoding('utf8')) {
        text += String(chunk)
        if (text.length > longestAnswer) throw new Error('the answer is too long')
      }

      return {
        status: statusCode,
        header: (name) => [got[name]].flat()[0],
        body: objectOf(text),
      }
    } catch (error) {
      // Messages of undici name addresses, which the settings already hold.
      const { code, message } = error as NodeJS.ErrnoException
      throw new KeyVaultFailure(unreachable, `${whom} cannot be reached (${code ?? message}).`)
    } finally {
      clearTimeout(timer)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort(new Error('the bridge ends'))
    await this.#agent.destroy()
  }
}

function isAway(status: number, { settles = false }: AzureRequest): boolean {
  const updating = settles && (status === 404 || status === 410)
  return updating || status === 408 || status === 429 || status >= 500
}

function objectOf(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}
