import { readObject, readString, writeObject, type RawObject } from '@mcp-gateway/protocol'

/** The questions of a member that reach the clients of an aggregate. */
export interface QuestionPolicy {
  /** Forms that the user fills in. */
  readonly elicitation: boolean
  /** Hosts whose pages the user may be asked to open; `*` for every host. */
  readonly urlHosts: readonly string[]
  /** Completions by the client's model, at the client's cost. */
  readonly sampling: boolean
  /** The client's folders. */
  readonly roots: boolean
}

export const defaultQuestions: QuestionPolicy = {
  elicitation: true,
  urlHosts: [],
  sampling: false,
  roots: false,
}

/**
 * The client's capabilities as a member sees them: without those that answer questions which the
 * policy holds back. A member then knows that it cannot ask.
 */
export function memberCapabilities(raw: string | undefined, policy: QuestionPolicy): string {
  const capabilities = new Map(readObject(raw))
  if (!policy.sampling) capabilities.delete('sampling')
  if (!policy.roots) capabilities.delete('roots')
  const elicitation = readObject(capabilities.get('elicitation'))
  if (elicitation !== undefined) {
    const modes = new Map(elicitation)
    // An empty object means forms alone (MCP 2025-11-25, elicitation).
    if (modes.size === 0) modes.set('form', '{}')
    if (!policy.elicitation) modes.delete('form')
    if (policy.urlHosts.length === 0) modes.delete('url')
    if (modes.size === 0) capabilities.delete('elicitation')
    else capabilities.set('elicitation', writeObject(modes))
  }
  return writeObject(capabilities)
}

/** Tells whether a client's capabilities lack one that a member requires. Both are raw JSON. */
export function lacks(declared: string | undefined, required: string | undefined): boolean {
  const capabilities = readObject(declared)
  return [...(readObject(required) ?? [])].some(([name, modes]) => {
    const has = readObject(capabilities?.get(name))
    if (has === undefined) return true
    return [...(readObject(modes)?.keys() ?? [])].some(
      (mode) => !has.has(mode) && !(name === 'elicitation' && mode === 'form' && has.size === 0),
    )
  })
}

/** The questions to pass on, or the reason why the call cannot go on. */
export type Passed = { readonly inputRequests: string } | { readonly refused: string }

/**
 * Passes a member's questions on. Each names the member, because the user sees only the name of the
 * gateway otherwise.
 */
export function passQuestions(
  raw: string | undefined,
  title: string,
  policy: QuestionPolicy,
): Passed {
  const passed: RawObject = new Map()
  for (const [key, question] of readObject(raw) ?? []) {
    const request = readObject(question)
    const method = readString(request?.get('method')) ?? ''
    const params = new Map(readObject(request?.get('params')))
    const mistake = whyHeldBack(method, params, policy)
    if (mistake !== undefined)
      return { refused: `The server '${title}' asks for ${mistake}, which is not allowed here.` }

    const message = readString(params.get('message'))
    if (method === 'elicitation/create')
      params.set('message', JSON.stringify(`[${title}] ${message ?? ''}`.trimEnd()))
    passed.set(key, writeObject(new Map(request).set('params', writeObject(params))))
  }
  return { inputRequests: writeObject(passed) }
}

function whyHeldBack(
  method: string,
  params: RawObject,
  policy: QuestionPolicy,
): string | undefined {
  switch (method) {
    case 'sampling/createMessage':
      return policy.sampling ? undefined : 'a completion of your model'
    case 'roots/list':
      return policy.roots ? undefined : 'your folders'
    case 'elicitation/create':
      if (readString(params.get('mode')) === 'url')
        return opens(readString(params.get('url')), policy.urlHosts)
      return policy.elicitation ? undefined : 'input'
    default:
      return `'${method.slice(0, 100)}'`
  }
}

function opens(url: string | undefined, hosts: readonly string[]): string | undefined {
  const host = url !== undefined && URL.canParse(url) ? new URL(url) : undefined
  if (host === undefined || !/^https?:$/.test(host.protocol)) return 'a page without web address'
  return hosts.includes('*') || hosts.includes(host.hostname)
    ? undefined
    : `a page at '${host.hostname}'`
}
