import { canonicalName } from '../lib/http/header-names.ts'

/**
 * Which headers cross each border. A name that ends with `*` covers all names that begin so, but a
 * whole name outranks it. Rows of only `-` are common headers, listed for fast lookup.
 */
const table = `
                               server client   peer

  accept                       pass   -        pass
  accept-charset               pass   -        -
  accept-encoding              pass   -        -
  accept-language              pass   -        -
  allow                        -      pass     -
  cache-control                -      caching  -
  content-digest               pass   pass     -
  content-encoding             pass   pass     -
  content-language             pass   pass     -
  content-length               never  pass     -
  content-md5                  pass   pass     -
  content-type                 pass   type     pass
  date                         -      -        -
  deprecation                  -      pass     -
  digest                       pass   pass     -
  idempotency-key              pass   -        pass
  location                     -      place    -
  ratelimit                    -      pass     -
  ratelimit-*                  -      pass     -
  repr-digest                  pass   pass     -
  retry-after                  -      pass     -
  sec-fetch-dest               -      -        -
  sec-fetch-mode               -      -        -
  sec-fetch-site               -      -        -
  server                       -      -        -
  sunset                       -      pass     -
  user-agent                   pass   -        -
  vary                         -      pass     -
  x-accel-buffering            never  buffer   -
  x-content-type-options       -      pass     -
  x-powered-by                 -      -        -
  x-rate-limit-*               -      pass     -
  x-ratelimit-*                -      pass     -

  last-event-id                pass   -        pass
  mcp-method                   pass   -        pass
  mcp-name                     pass   -        pass
  mcp-param-*                  pass   -        pass
  mcp-protocol-version         pass   pass     pass
  mcp-session-id               never  never    pass
  cdn-loop                     pass   never    pass

  b3                           pass   -        -
  baggage                      pass   -        pass
  traceparent                  pass   pass     pass
  tracestate                   pass   pass     pass
  x-b3-*                       pass   -        -
  x-correlation-id             pass   pass     -
  x-request-id                 never  never    -

  access-token                 key    -        -
  api-key                      key    -        -
  apikey                       key    -        -
  context7-api-key             key    -        -
  context7_api_key             key    -        -
  dd-api-key                   key    -        -
  dd-application-key           key    -        -
  job-token                    key    -        -
  notion-version               pass   -        -
  ocp-apim-subscription-key    key    -        -
  private-token                key    -        -
  x-access-token               key    -        -
  x-api-key                    key    -        -
  x-api-token                  key    -        -
  x-api-version                pass   -        -
  x-apikey                     key    -        -
  x-atlassian-*                key    -        -
  x-auth-token                 key    -        -
  x-exa-api-key                key    -        -
  x-figma-token                key    -        -
  x-firecrawl-api-key          key    -        -
  x-functions-key              key    -        -
  x-github-*                   key    -        -
  x-gitlab-*                   key    -        -
  x-goog-api-key               key    -        -
  x-goog-user-project          pass   -        -
  x-grafana-*                  key    -        -
  x-mcp-exclude-tools          pass   -        -
  x-mcp-features               pass   -        -
  x-mcp-insiders               pass   -        -
  x-mcp-lockdown               pass   -        -
  x-mcp-readonly               pass   -        -
  x-mcp-tools                  pass   -        -
  x-mcp-toolsets               pass   -        -
  x-project-id                 pass   -        -
  x-subscription-token         key    -        -
  x-tenant                     pass   -        -
  x-tenant-id                  pass   -        -
  x-workspace-id               pass   -        -

  connection                   never  never    -
  expect                       never  never    -
  host                         never  never    pass
  http2-settings               never  never    -
  keep-alive                   never  never    -
  proxy                        never  never    -
  proxy-*                      never  never    -
  te                           never  never    -
  trailer                      never  never    -
  transfer-encoding            never  never    -
  upgrade                      never  never    -
  via                          never  never    -

  authorization                never  never    -
  cookie                       never  never    -
  cookie2                      never  never    -
  origin                       never  never    -
  x-dev-*                      never  never    -
  x-gateway-secret             never  never    -
  x-mcp-identity               never  never    -
  x-mcp-roles                  never  never    -
  x-mcp-userid                 never  never    -
  x-mcp-username               never  never    -
  x-mcpgw-*                    never  never    -

  cf-access-*                  never  -        -
  cf-connecting-*              never  -        -
  client-cert                  never  -        -
  client-cert-*                never  -        -
  client-ip                    never  -        -
  forwarded                    never  never    -
  forwarded-*                  never  never    -
  impersonate-*                never  -        -
  oidc-*                       never  -        -
  remote-*                     never  -        -
  sm-*                         never  -        -
  ssl-*                        never  -        -
  tailscale-*                  never  -        -
  teleport-*                   never  -        -
  true-client-ip               never  -        -
  x-amzn-mtls-*                never  -        -
  x-amzn-oidc-*                never  -        -
  x-anonymous-consumer         never  -        -
  x-apigateway-*               never  -        -
  x-auth-request-*             never  -        -
  x-auth-user                  never  -        -
  x-authenticated-*            never  -        -
  x-authentik-*                never  -        -
  x-client-*                   never  -        -
  x-cluster-client-ip          never  -        -
  x-consumer-*                 never  -        -
  x-credential-*               never  -        -
  x-email                      never  -        -
  x-endpoint-api-userinfo      never  -        -
  x-envoy-*                    never  never    -
  x-forwarded                  never  never    -
  x-forwarded-*                never  never    -
  x-goog-authenticated-*       never  -        -
  x-goog-iap-*                 never  -        -
  x-groups                     never  -        -
  x-http-method                never  -        -
  x-http-method-override       never  -        -
  x-id-token                   never  -        -
  x-jwt-*                      never  -        -
  x-method-override            never  -        -
  x-ms-client-*                never  -        -
  x-ms-token-*                 never  -        -
  x-original-*                 never  never    -
  x-pomerium-*                 never  -        -
  x-real-ip                    never  never    -
  x-remote-*                   never  -        -
  x-rewrite-*                  never  never    -
  x-ssl-*                      never  -        -
  x-user                       never  -        -
  x-user-*                     never  -        -
  x-userinfo                   never  -        -
  x-vouch-*                    never  -        -
  x-webauth-*                  never  -        -

  access-control-*             never  never    -
  alt-svc                      -      never    -
  authentication-info          -      never    -
  cdn-*                        -      never    -
  clear-site-data              -      never    -
  content-security-policy      -      never    -
  content-security-policy-*    -      never    -
  cross-origin-*               -      never    -
  edge-control                 -      never    -
  link                         -      never    -
  nel                          -      never    -
  origin-agent-cluster         -      never    -
  p3p                          -      never    -
  permissions-policy           -      never    -
  public-key-pins              -      never    -
  refresh                      -      never    -
  report-to                    -      never    -
  reporting-endpoints          -      never    -
  service-worker-allowed       -      never    -
  set-cookie                   -      never    -
  set-cookie2                  -      never    -
  sourcemap                    -      never    -
  speculation-rules            -      never    -
  strict-transport-security    -      never    -
  surrogate-*                  -      never    -
  www-authenticate             -      never    -
  x-accel-*                    never  never    -
  x-lighttpd-*                 never  never    -
  x-litespeed-*                never  never    -
  x-reproxy-*                  never  never    -
  x-sendfile                   never  never    -
  x-sendfile-*                 never  never    -
`

/**
 * `pass` crosses; `key` crosses unless the value holds a gateway API key. Operators may add `-`
 * (`proxy.requestHeaders`, `proxy.responseHeaders`), but not `never`.
 */
const passages = ['pass', 'key', 'type', 'caching', 'place', 'buffer', '-', 'never'] as const
/** Every other word names a rule for the value (`proxy/headers.ts`). */
export type Passage = (typeof passages)[number]
/** The receiver of a header: a server, a client, or another gateway process. */
export type Border = 'server' | 'client' | 'peer'

/** One header, or all headers with a common prefix, and whether they cross each border. */
export type HeaderRow = Readonly<Record<Border, Passage>> & { readonly name: string }

export const headerRows: readonly HeaderRow[] = table
  .trim()
  .split('\n')
  .slice(1)
  .filter((line) => line.trim() !== '')
  .map((line) => {
    const [name = '', ...cells] = line.trim().split(/ +/)
    const [server, client, peer] = cells.map((cell) => passages.find((known) => known === cell))
    if (server === undefined || client === undefined || peer === undefined || cells.length !== 3)
      throw new Error(`The table of headers has a line that cannot be read: ${line}`)
    return { name, server, client, peer }
  })

/**
 * Builds a function that decides whether a header crosses a border.
 * @param added names that an operator also lets pass, as `header` or `prefix-*`
 */
export function headerFilter(
  border: Border,
  added: readonly string[] = [],
): (name: string) => Passage {
  const names = new Map<string, Passage>()
  const prefixes = new Map<string, Passage>()

  const set = (name: string, passage: Passage): void => {
    if (name.endsWith('*')) return void prefixes.set(name.slice(0, -1), passage)

    // Store the common spellings as keys, so that a lookup does not have to fold the name.
    for (const spelling of [name, titleCase(name)]) names.set(spelling, passage)
  }

  for (const row of headerRows)
    if (row[border] !== '-' || !row.name.endsWith('*')) set(row.name, row[border])
  for (const name of added.map((each) => each.toLowerCase()))
    if (headerMistake(name, border) === undefined && (names.get(name) ?? '-') === '-')
      set(name, border === 'server' ? 'key' : 'pass')

  const mostDashes = Math.max(0, ...[...prefixes.keys()].map((name) => name.split('-').length - 1))

  const ofPrefix = (lower: string): Passage => {
    let found: Passage = '-'
    let dash = lower.indexOf('-')
    for (let dashes = 0; dash !== -1 && dashes < mostDashes; dashes += 1) {
      const passage = prefixes.get(lower.slice(0, dash + 1))
      if (passage === 'never') return passage
      found = passage ?? found
      dash = lower.indexOf('-', dash + 1)
    }

    return found
  }

  const decide = (lower: string): Passage => names.get(lower) ?? ofPrefix(lower)
  return (name) => {
    const known = names.get(name)
    if (known !== undefined) return known

    const lower = name.toLowerCase()
    const canonical = canonicalName(lower)
    return canonical !== lower && decide(canonical) === 'never' ? 'never' : decide(lower)
  }
}

/** Why an operator may not let a header pass; undefined if the operator may. */
export function headerMistake(pattern: string, border: Border): string | undefined {
  if (pattern.length > 128 || !/^[a-z0-9_.-]*[a-z0-9](-\*)?$/i.test(pattern))
    return (
      `'${pattern}' must be the name of a header, ` +
      `or the beginning of one with '-*' at its end.`
    )

  const open = pattern.endsWith('*')
  const begin = canonicalName(open ? pattern.slice(0, -1) : pattern)
  const clash = headerRows.find((row) => {
    if (row[border] !== 'never') return false
    if (!row.name.endsWith('*')) return open ? row.name.startsWith(begin) : row.name === begin
    const prefix = row.name.slice(0, -1)
    return begin.startsWith(prefix) || (open && prefix.startsWith(begin))
  })
  return clash === undefined
    ? undefined
    : `'${pattern}' would let '${clash.name}' pass, which never crosses the gateway. Name the ` +
        'headers that your servers need more exactly.'
}

function titleCase(name: string): string {
  return name.replace(/(?<![a-z0-9])[a-z]/g, (letter) => letter.toUpperCase())
}
