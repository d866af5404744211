import { Pieces } from '@mcp-gateway/protocol'
import { request, type Dispatcher } from 'undici'
import type { IssuerConfig } from '../config/config.ts'
import { timeoutOr } from '../lib/async/timeout-signal.ts'
import { monotonicNow } from '../lib/clock.ts'
import { defined } from '../lib/defined.ts'
import { issuerRules, type IssuerRules } from './issuer.ts'
import { KeySet } from './key-set.ts'
import type { TokenOptions } from './tokens.ts'

interface DiscoveryOptions {
  readonly dispatcher: Dispatcher
  readonly signal: AbortSignal
}

const mostBytes = 512 * 1024
const timeoutMs = 5000

/** The rules of each configured issuer, with keys that are fetched on first use. */
export function openIssuers(
  configured: readonly IssuerConfig[],
  {
    warn,
    ...discovery
  }: DiscoveryOptions & {
    /** Reports a problem of an issuer, once for each event. */
    readonly warn: (about: { issuer: string; err?: unknown }, what: string) => void
  },
): TokenOptions['issuers'] {
  return configured.flatMap(issuerRules).map((rules) => ({
    rules,
    keys: new KeySet({
      fetch: () => fetchKeys(rules, discovery),
      warn: (what, err) => warn(defined({ issuer: rules.authorizationServer, err }), what),
      now: monotonicNow,
    }),
  }))
}

/**
 * Fetches the keys of an issuer from `jwksUri`, or from the address in its discovery document
 * (OpenID Connect Discovery 1.0, section 4).
 * @throws Error with the fault, for the log
 */
async function fetchKeys(
  { authorizationServer, jwksUri }: IssuerRules,
  options: DiscoveryOptions,
): Promise<unknown> {
  if (jwksUri !== undefined) return await fetchJson(jwksUri, options)

  const document = await fetchJson(
    `${authorizationServer.replace(/\/$/, '')}/.well-known/openid-configuration`,
    options,
  )
  const { issuer, jwks_uri: discovered } = (document ?? {}) as {
    readonly issuer?: unknown
    readonly jwks_uri?: unknown
  }
  // OpenID Connect Discovery 1.0, section 4.3. Otherwise one issuer could speak for another.
  if (issuer !== authorizationServer)
    throw new Error(
      `The issuer calls itself ${JSON.stringify(issuer)}, not ${authorizationServer}.`,
    )
  if (typeof discovered !== 'string') throw new Error('The issuer names no jwks_uri.')

  return await fetchJson(discovered, options)
}

/**
 * Fetches JSON with limits on time and size, over TLS or from this machine only, and follows no
 * redirect.
 */
async function fetchJson(
  address: string,
  { dispatcher, signal }: DiscoveryOptions,
): Promise<unknown> {
  const url = new URL(address)
  if (!isSafeAddress(url)) throw new Error(`${url.origin} is not https.`)

  const answer = await request(url, {
    dispatcher,
    // Some servers offer only `application/jwk-set+json` (RFC 7517 section 8.5.2), such as the
    // Kubernetes API server.
    headers: { accept: 'application/json, application/jwk-set+json' },
    signal: timeoutOr(signal, timeoutMs),
  })

  const pieces = new Pieces()
  for await (const chunk of answer.body as AsyncIterable<Buffer>) {
    pieces.push(chunk)
    if (pieces.length > mostBytes) throw new Error(`${url.href} is longer than ${mostBytes} bytes.`)
  }
  if (answer.statusCode !== 200) throw new Error(`${url.href} answers ${answer.statusCode}.`)
  return JSON.parse(pieces.take().toString()) as unknown
}

/** True for https and for loopback. Keys fetched over plain HTTP could come from anybody. */
export function isSafeAddress({ protocol, hostname }: URL): boolean {
  return (
    protocol === 'https:' ||
    (protocol === 'http:' && /^(localhost|\[::1\]|127(\.\d{1,3}){3})$/.test(hostname))
  )
}
