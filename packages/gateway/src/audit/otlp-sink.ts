import { Agent } from 'undici'
import { defined } from '../lib/defined.ts'
import { chainStart } from './chain.ts'
import type { AuditSink } from './journal.ts'

export interface OtlpSinkOptions {
  /** Address of the collector: `http://localhost:4318`. Without a path, `/v1/logs` is added. */
  readonly endpoint: string
  readonly headers: Readonly<Record<string, string>>
  /** Value of `service.instance.id`. */
  readonly instance: string
  readonly version: string
}

const timeoutMs = 10_000

/**
 * OpenTelemetry logs over HTTP with JSON (OTLP 1.x). Each body is the line as in a file. Every
 * process has its own chain.
 */
export class OtlpSink implements AuditSink {
  readonly name: string
  readonly head = chainStart
  readonly found = {}
  readonly #url: URL
  readonly #options: OtlpSinkOptions
  readonly #agent = new Agent({
    connections: 1,
    connect: { timeout: timeoutMs },
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
  })

  constructor(options: OtlpSinkOptions) {
    this.#options = options
    this.#url = new URL(options.endpoint)
    if (this.#url.pathname === '/') this.#url.pathname = '/v1/logs'
    this.name = `OTLP ${this.#url.origin}`
  }

  async write(lines: readonly string[]): Promise<void> {
    const { origin, pathname, search } = this.#url
    const { statusCode, body } = await this.#agent.request({
      origin,
      path: pathname + search,
      method: 'POST',
      headers: { ...this.#options.headers, 'content-type': 'application/json' },
      body: JSON.stringify(this.#message(lines)),
      signal: AbortSignal.timeout(timeoutMs),
    })
    const text = (await body.text()).slice(0, 10_000)
    if (statusCode < 200 || statusCode > 299)
      throw new Error(`The collector answered with HTTP ${statusCode}.`)
    const rejected = rejectedOf(text)
    if (rejected > 0)
      throw new Error(`The collector rejected ${rejected} of ${lines.length} records.`)
  }

  #message(lines: readonly string[]): object {
    const { instance, version } = this.#options
    const resource = {
      'service.name': 'mcp-gateway',
      'service.version': version,
      'service.instance.id': instance,
    }
    return {
      resourceLogs: [
        {
          resource: { attributes: attributes(resource) },
          scopeLogs: [
            { scope: { name: 'mcp-gateway.audit', version }, logRecords: lines.map(logRecord) },
          ],
        },
      ],
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy()
  }
}

function logRecord(line: string): object {
  const text = line.trimEnd()
  const { time, type, action, outcome } = JSON.parse(text) as Readonly<Record<string, string>>
  const denied = outcome === 'denied' || type === 'gap'
  return {
    timeUnixNano: `${Date.parse(time ?? '')}000000`,
    severityNumber: denied ? 13 : 9,
    severityText: denied ? 'WARN' : 'INFO',
    body: { stringValue: text },
    attributes: attributes(
      defined({
        'event.name': `audit.${type}`,
        'audit.action': action,
        'audit.outcome': action === undefined ? undefined : (outcome ?? ''),
      }),
    ),
  }
}

function attributes(values: Readonly<Record<string, string>>): object[] {
  return Object.entries(values).map(([key, value]) => ({ key, value: { stringValue: value } }))
}

/**
 * Reads `rejectedLogRecords` of `ExportLogsPartialSuccess`. JSON carries 64-bit numbers as text.
 */
function rejectedOf(text: string): number {
  try {
    const { partialSuccess } = JSON.parse(text) as {
      partialSuccess?: { rejectedLogRecords?: unknown }
    }
    return Number(partialSuccess?.rejectedLogRecords ?? 0)
  } catch {
    return 0
  }
}
