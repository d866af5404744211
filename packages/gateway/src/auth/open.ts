import type { IncomingMessage } from 'node:http'
import { Agent } from 'undici'
import type { Config } from '../config/config.ts'
import type { GatewayError } from '../core/errors.ts'
import {
  createAuthenticate,
  hasCredential,
  type Authenticate,
  type Method,
} from './authenticate.ts'
import { withChallenge } from './challenge.ts'
import { authenticateDevelopment } from './development.ts'
import { openIssuers } from './discovery.ts'
import { FailureLimit } from './failures.ts'
import type { LocalSocket } from '../lib/net/socket-owner.ts'
import { exceptWorkloads } from './local-caller.ts'
import { metadataAddress, resourcePath, type ResourceMetadata } from './resource-metadata.ts'
import { tokenMethod } from './tokens.ts'
import { monotonicNow } from '../lib/clock.ts'

export interface IdentityOptions {
  readonly settings: Config['identity']
  /** Recognises sockets of workloads, which must not use development identity. */
  readonly isWorkload: ((socket: LocalSocket) => boolean | Promise<boolean>) | undefined
  /** Methods that come before tokens. */
  readonly methods: readonly Method[]
  readonly client: {
    originOf(request: IncomingMessage): string
    addressOf(request: IncomingMessage): string
  }
  /** Reports a problem of an issuer, once for each event. */
  readonly warn: (about: { readonly issuer: string; readonly err?: unknown }, what: string) => void
  /** Milliseconds since the epoch, for the expiry of tokens. */
  readonly now: () => number
}

/** Identification of callers. */
export interface Identity extends AsyncDisposable {
  readonly authenticate: Authenticate
  /** Adds a challenge to a refusal, so that the client learns how to get a better credential. */
  readonly challenge: (request: IncomingMessage, refusal: GatewayError) => GatewayError
  /**
   * Metadata for clients about the source of tokens (RFC 9728). Undefined if the gateway accepts no
   * tokens.
   */
  readonly metadata: ((request: IncomingMessage, path: string) => ResourceMetadata) | undefined
}

export function openIdentity(options: IdentityOptions): Identity {
  const failures = new FailureLimit({
    addressOf: (request) => options.client.addressOf(request),
    now: monotonicNow,
  })

  return options.settings.mode === 'development'
    ? developmentIdentity(options, failures)
    : tokenIdentity(options, failures)
}

function developmentIdentity(
  { methods, isWorkload }: IdentityOptions,
  failures: FailureLimit,
): Identity {
  const claimed =
    isWorkload === undefined
      ? authenticateDevelopment
      : exceptWorkloads(authenticateDevelopment, isWorkload)

  return {
    authenticate: createAuthenticate({
      methods: [...methods.map((method) => failures.counting(method)), claimed],
      allowAnonymous: false,
      networkOf: (request) => failures.addressOf(request),
    }),
    challenge: (_request, refusal) => refusal,
    metadata: undefined,
    [Symbol.asyncDispose]: async () => undefined,
  }
}

function tokenIdentity(options: IdentityOptions, failures: FailureLimit): Identity {
  const { settings, methods, client, warn, now } = options
  const dispatcher = new Agent({ connections: 2, connect: { timeout: 5000 } })
  const closing = new AbortController()
  const issuers = openIssuers(settings.issuers, { dispatcher, signal: closing.signal, warn })
  // Clients use the first authorization server, so the advertised scopes are its scopes.
  const scopes = issuers[0]?.rules.scopes ?? []

  const resourcesOf = (request: IncomingMessage): string[] => {
    const origin = client.originOf(request)
    return [origin, `${origin}/`, `${origin}${resourcePath(request.url ?? '')}`]
  }

  return {
    authenticate: createAuthenticate({
      methods: [
        ...methods.map((method) => failures.counting(method)),
        tokenMethod({ issuers, resourcesOf, failures, now }),
      ],
      allowAnonymous: settings.allowAnonymous,
      networkOf: (request) => failures.addressOf(request),
    }),
    challenge: (request, refusal) =>
      withChallenge(refusal, {
        metadata: metadataAddress(client.originOf(request), resourcePath(request.url ?? '')),
        scopes,
        credential: hasCredential(request),
      }),
    metadata: (request, path) => ({
      resource: client.originOf(request) + path,
      authorization_servers: issuers.map(({ rules }) => rules.authorizationServer),
      ...(scopes.length === 0 ? {} : { scopes_supported: scopes }),
      bearer_methods_supported: ['header'],
    }),
    async [Symbol.asyncDispose]() {
      closing.abort()
      await dispatcher.destroy()
    },
  }
}
