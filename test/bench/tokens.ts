import { generateKeyPairSync, randomUUID, sign, type KeyObject } from 'node:crypto'
import { Agent, createServer, request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { echoAdapter, startGateway, type Subject } from './gateways.ts'
import type { LoadOptions, LoadResult } from './load.ts'
import { load } from './measure.ts'
import { median } from './median.ts'
import { cpuMicros, rssMb } from './processes.ts'
import { untilAnswers } from './requests.ts'

const audience = 'mcp-gateway'
const keys = {
  RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  // It signs twenty times as fast, and here only the number of tokens matters.
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
}
type Algorithm = keyof typeof keys

/** An issuer that only publishes its keys. It does not keep the process alive. */
const issuer = await new Promise<string>((resolve) => {
  const server = createServer((request, response) => {
    const self = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const jwk = (alg: Algorithm, key: KeyObject): object => ({
      ...key.export({ format: 'jwk' }),
      kid: alg,
      alg,
      use: 'sig',
    })
    const jwks = { keys: [jwk('RS256', keys.RS256.publicKey), jwk('ES256', keys.ES256.publicKey)] }
    response.end(
      JSON.stringify(request.url === '/keys' ? jwks : { issuer: self, jwks_uri: `${self}/keys` }),
    )
  })
  server.listen(0, '127.0.0.1', () =>
    resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
  )
  server.unref()
})

/** A token like those of products: 1 kB, valid for longer than the bench takes. */
function token(algorithm: Algorithm): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const now = Math.floor(Date.now() / 1000)
  const claims = {
    iss: issuer,
    aud: audience,
    sub: randomUUID(),
    name: 'Somebody of the bench',
    roles: ['mcp.engineer', 'mcp.reader'],
    scope: 'openid profile access',
    iat: now,
    exp: now + 36_000,
    jti: randomUUID(),
    sid: randomUUID(),
    extra: 'x'.repeat(300),
  }
  const signed = `${part({ alg: algorithm, typ: 'at+jwt', kid: algorithm })}.${part(claims)}`
  const key = { key: keys[algorithm].privateKey, dsaEncoding: 'ieee-p1363' as const }
  return `${signed}.${sign('sha256', Buffer.from(signed), key).toString('base64url')}`
}

const bearer = (text: string): { readonly authorization: string } => ({
  authorization: `Bearer ${text}`,
})
const environment = {
  MCPGW_IDENTITY_MODE: 'oidc',
  MCPGW_IDENTITY_ISSUERS: JSON.stringify([
    { preset: 'generic', issuer, audiences: [audience], requiredScopes: ['access'] },
  ]),
}

/** A gateway whose callers show access tokens. */
export async function startWithTokens(): Promise<Subject> {
  const headers = bearer(token('RS256'))
  const subject = await startGateway(echoAdapter, { environment, headers })
  return { ...subject, client: { era: 'legacy', headers } }
}

/**
 * Asks for an empty list again and again, over some connections, with the credential that `next`
 * gives; until it gives none.
 */
async function ask(
  url: string,
  connections: number,
  next: () => string | undefined,
): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  const one = (credential: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const request = httpRequest(
        new URL('/api-keys', url),
        { agent, headers: bearer(credential) },
        (response) => response.resume().on('end', resolve),
      )
      request.on('error', reject)
      request.end()
    })
  const lanes = Array.from({ length: connections }, async () => {
    for (let credential = next(); credential !== undefined; credential = next())
      await one(credential)
  })
  await Promise.all(lanes)
  agent.destroy()
}

/** Measures the cost of tokens apart from requests. */
export async function tokensOnce(): Promise<Record<string, number>> {
  const subject = await startWithTokens()
  const { headers = {} } = subject.client ?? {}
  await untilAnswers(subject.url, headers)
  const known = token('RS256')

  const found = {
    'a token that is not known yet, CPU ms': await cpuOfUnknown(subject, known),
    'p50 during a flood of bad tokens, ratio': await slowedByFlood(subject, known),
    'rss of 100,000 distinct tokens, MB': await memoryOfTokens(subject, known),
  }
  for (const part of subject.parts) await part.end()
  return found
}

function times(count: number, next: () => string): () => string | undefined {
  let left = count
  return () => ((left -= 1) < 0 ? undefined : next())
}

async function cpuOfUnknown(subject: Subject, known: string): Promise<number> {
  const cpuOf = async (count: number, next: () => string): Promise<number> => {
    const before = cpuMicros(subject.pid)
    await ask(subject.url, 8, times(count, next))
    return (cpuMicros(subject.pid) - before) / count / 1000
  }
  const distinct = (count: number): (() => string) => {
    const tokens = Array.from({ length: count }, () => token('RS256'))
    return () => tokens.pop() ?? ''
  }

  const [first, second] = [distinct(2000), distinct(2000)]
  await cpuOf(2000, first)
  await cpuOf(20_000, () => known)
  const withKnown = await cpuOf(2000, () => known)
  return (await cpuOf(2000, second)) - withKnown
}

async function slowedByFlood({ url, client }: Subject, known: string): Promise<number> {
  const options: LoadOptions = {
    url,
    connections: 8,
    seconds: 3,
    warmupSeconds: 2,
    sessionGapMs: 0,
    client: { era: 'legacy', headers: client?.headers ?? {} },
  }
  const ratios: number[] = []
  for (let turn = 0; turn < 3; turn += 1) {
    const alone = await load<LoadResult>(options)
    let over = false
    // These tokens are right except for the signature.
    const flood = ask(url, 8, () =>
      over ? undefined : `${known.slice(0, -22)}${randomUUID().slice(0, 22)}`,
    )
    const flooded = await load<LoadResult>(options)
    over = true
    await flood
    if (flooded.errors > 0) throw new Error(`${flooded.errors} good calls failed during the flood.`)
    ratios.push(flooded.p50 / alone.p50)
  }
  return median(ratios)
}

async function memoryOfTokens({ url, pid }: Subject, known: string): Promise<number> {
  const fill = (next: () => string): Promise<void> => ask(url, 32, times(100_000, next))
  await fill(() => known)
  await sleep(1000)

  const before = rssMb(pid)
  await fill(() => token('ES256'))
  await sleep(1000)
  return rssMb(pid) - before
}
