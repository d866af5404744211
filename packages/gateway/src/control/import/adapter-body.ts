import { Credential, type AdapterBody, type ImportNeed } from '@mcp-gateway/contract'
import type { Mistake } from '../../core/errors.ts'
import { looksSecret } from '../../core/fields/looks-secret.ts'
import type { WarningCode } from '../../core/mistakes.ts'
import { tableOf } from '../../lib/json/table-of.ts'
import { isObject } from './client-file.ts'
import { commandOf } from './command.ts'
import { environmentOf } from './environment.ts'
import { Placeholders, type Filled } from './placeholders.ts'
import { pointerTo, type Answer, type Answers, type Source } from './source.ts'

export interface Given {
  readonly answers: Answers
  /** Texts of env files, by their paths in the file. */
  readonly envFiles: Readonly<Record<string, string>>
}

/** The adapter that an entry describes, or the reasons why there is none yet. */
export interface Plan {
  /** Without a name. */
  readonly body: Omit<AdapterBody, 'name'>
  readonly needs: readonly ImportNeed[]
  readonly mistakes: readonly Mistake[]
  readonly warnings: readonly {
    readonly pointer: string
    readonly code: WarningCode
    readonly detail: string
  }[]
}

type Body = Omit<AdapterBody, 'name'>
type Variables = NonNullable<AdapterBody['environmentVariables']>
type Headers = readonly (readonly [header: string, value: Filled | Exclude<Answer, string>])[]

/** Members that an adapter has a place for. All others are the client's own. */
const known = new Set(
  'type command args env envFile cwd url serverUrl httpUrl headers disabled disabledTools'.split(
    ' ',
  ),
)
const httpTypes = new Set([
  'http',
  'streamable-http',
  'streamableHttp',
  'streamable_http',
  'remote',
])

/** Builds the adapter of an entry, by the table of docs/import.md. */
export function planOf(source: Source, given: Given): Plan {
  const { asked, description, fields, mistakes: found = [], pointer } = source
  const placeholders = new Placeholders(given.answers, asked)
  const about = description === undefined ? {} : { description: description.slice(0, 4096) }
  const { choose } = fields
  if (typeof choose === 'string') {
    placeholders.ask(choose, asked.get(choose) ?? { secret: false })
    return { body: {}, needs: [...placeholders.needs.values()], mistakes: found, warnings: [] }
  }

  const mistakes: Mistake[] = [...found]
  const body = found.length > 0 ? {} : serverOf(source, given, placeholders, mistakes)
  return {
    body: { ...about, ...body, ...rulesOf(fields['disabledTools']) },
    needs: [...placeholders.needs.values()],
    mistakes: [...mistakes, ...placeholders.mistakes],
    warnings: ignoredIn(fields, body).map((field) => ({
      pointer: `${pointer}${pointerTo(field)}`,
      code: 'not_imported' as const,
      detail: 'has no meaning for an adapter, so it had no effect.',
    })),
  }
}

function serverOf(
  source: Source,
  given: Given,
  placeholders: Placeholders,
  mistakes: Mistake[],
): Body {
  const { fields, pointer } = source
  const { command, disabled, type } = fields
  const [member, url] =
    Object.entries(fields).find(([key]) => /^(url|serverUrl|httpUrl)$/.test(key)) ?? []
  if ((command === undefined) === (url === undefined)) {
    const detail = 'must have either a command or a URL'
    mistakes.push({ pointer, code: 'ambiguous', detail })
    return {}
  }
  if (url !== undefined && typeof url !== 'string') {
    const at = `${pointer}/${member}`
    mistakes.push({ pointer: at, code: 'invalid_type', detail: 'must be a text' })
    return {}
  }
  if (typeof url === 'string') {
    if (
      type !== undefined &&
      type !== 'sse' &&
      !(typeof type === 'string' && httpTypes.has(type))
    ) {
      const detail = 'must be http, streamable-http or sse'
      mistakes.push({ pointer: `${pointer}/type`, code: 'invalid_value', detail })
    }
    return remoteOf(source, url, placeholders, mistakes)
  }

  return {
    ...bridge({
      ...environmentOf(source, given.envFiles, placeholders, mistakes),
      ...commandOf(source, placeholders, mistakes),
    }),
    ...(disabled === true ? { replicaCount: 0 } : {}),
  }
}

/** The server of a URL: by `endpoint`, or by the bridge where an endpoint cannot do it. */
function remoteOf(
  { fields, pointer }: Source,
  given: string,
  placeholders: Placeholders,
  mistakes: Mistake[],
): Body {
  const url = placeholders.fill(`${pointer}/url`, given)
  const headers: Headers = Object.entries(tableOf(fields['headers'])).map(([name, value]) => {
    const at = `${pointer}/headers${pointerTo(name)}`
    if (typeof value !== 'string')
      mistakes.push({ pointer: at, code: 'invalid_type', detail: 'must be a text' })
    return [name, placeholders.fillWhole(at, String(value))]
  })
  const isSecret = url.secret || hasSecret(url.text)
  const fits = headers.length <= 16 && headers.every(([header]) => isCredential(header))
  if (fields['type'] !== 'sse' && fits && !isSecret)
    return { endpoint: url.text, callerIdentity: 'none', ...credentialOf(headers) }

  return bridge({
    MCP_PROXY_URL: isSecret ? { value: url.text, secret: true } : url.text,
    ...(fields['type'] === 'sse' ? { MCP_PROXY_TRANSPORT: 'sse' } : {}),
    ...proxyHeaders(headers, `${pointer}/headers`, mistakes),
  })
}

function proxyHeaders(headers: Headers, pointer: string, mistakes: Mistake[]): Variables {
  if (headers.length === 0) return {}
  const texts = headers.map(([header, value]) => {
    if ('text' in value) return [header, value.text]
    const detail = 'go through the bridge, so a secretRef cannot stand for one of them'
    mistakes.push({ pointer, code: 'ambiguous', detail })
    return [header, '']
  })
  return { MCP_PROXY_HEADERS: { value: JSON.stringify(Object.fromEntries(texts)), secret: true } }
}

function credentialOf(headers: Headers): Pick<Body, 'credential'> {
  const all = headers.map(([header, value]) => ({
    header,
    ...('text' in value ? { value: value.text } : value),
  }))
  const [only, ...others] = all
  if (only === undefined) return {}
  return { credential: (others.length === 0 ? only : all) as NonNullable<Body['credential']> }
}

function isCredential(header: string): boolean {
  return Credential.safeParse({ header, value: 'x' }).success
}

/** True if a URL holds a secret that every reader of an `endpoint` would see. */
function hasSecret(url: string): boolean {
  if (!URL.canParse(url)) return false
  const { password, searchParams } = new URL(url)
  return password !== '' || [...searchParams].some(([name, value]) => looksSecret(name, value))
}

function bridge(environmentVariables: Variables): Body {
  return { imageName: 'mcp-proxy', imageVersion: '1', environmentVariables }
}

/** Tools that the entry turns off stay off. */
function rulesOf(disabled: unknown): Pick<Body, 'toolRules'> {
  const tools = Array.isArray(disabled)
    ? disabled.filter((each): each is string => typeof each === 'string' && each !== '')
    : []
  if (tools.length === 0) return {}
  return {
    toolRules: [
      { effect: 'deny', tools },
      { effect: 'allow', tools: '*' },
    ],
  }
}

function ignoredIn(fields: Source['fields'], { endpoint }: Body): string[] {
  const ignored = Object.keys(fields).filter((field) => !known.has(field))
  return [
    ...ignored.slice(0, 50),
    ...(endpoint !== undefined && fields['disabled'] === true ? ['disabled'] : []),
    ...(endpoint !== undefined && isObject(fields['env']) ? ['env'] : []),
  ]
}
