import { endpoints, type Endpoint } from '@mcp-gateway/contract'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway, type Exchange } from '../fixtures/gateway.ts'

/** Each verb finds the things that the verbs before it have left. */
const order = [
  'create',
  'list',
  'read',
  'replace',
  'patch',
  'offer',
  'decline',
  'transfer',
  'restart',
  'status',
  'card',
  'catalog',
  'logs',
  'delete',
  'revoke',
]
const rankOf = ({ audit }: Endpoint): number => order.indexOf(audit.verb)
const served = Object.entries<Endpoint>(endpoints).toSorted(
  ([, one], [, other]) => rankOf(one) - rankOf(other),
)

/** Names of the created resources, by kind. */
const names = new Map<string, string>()
const admin = { 'x-dev-roles': 'mcp.admin' }

let gateway: TestGateway
beforeAll(async () => {
  gateway = await TestGateway.open()
})
afterAll(() => gateway[Symbol.asyncDispose]())

function call({ method, path, body, audit }: Endpoint): Promise<Exchange> {
  const target = path
    .replace('{serverName}', `127.0.0.1%2Fadapters.${names.get('adapter')}`)
    .replace('{version}', 'latest')
    .replace(/\{\w+\}/, names.get(audit.kind) ?? 'nothing')
  const type = body === undefined ? {} : { 'content-type': body.type }
  return gateway.send(target, {
    method: method.toUpperCase(),
    headers: { ...admin, ...type },
    ...(body === undefined ? {} : { body: JSON.stringify(body.example) }),
  })
}

describe('An endpoint of the contract', () => {
  test.each(served)(
    '%s takes its example, and answers as the contract says',
    async (_id, endpoint) => {
      const { success, audit } = endpoint
      let answer = await call(endpoint)
      // A replica has logs only once the reconciler has started it.
      for (
        let tries = 0;
        audit.verb === 'logs' && answer.status === 404 && tries < 200;
        tries += 1
      ) {
        await new Promise((resolve) => setTimeout(resolve, 50))
        answer = await call(endpoint)
      }

      const text = answer.body.toString()
      expect(answer.status, text).toBe(success.status)
      const sent = Object.keys(success.headers ?? {}).filter((name) => name !== 'Link')
      for (const name of sent) expect(answer.headers).toHaveProperty(name.toLowerCase())
      if (success.schema === undefined) return

      const body: unknown = JSON.parse(text)
      expect(success.schema.safeParse(body).error).toBeUndefined()
      const { id, name = id } = body as { readonly id?: string; readonly name?: string }
      if (audit.verb === 'create')
        names.set(audit.kind, String(audit.kind === 'api-key' ? id : name))
    },
  )

  /** `/tools/import` is also the address of a tool of this name. */
  const methodsAt = (path: string): string[] =>
    served
      .filter(([, endpoint]) =>
        new RegExp(`^${endpoint.path.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(path),
      )
      .map(([, { method }]) => method.toUpperCase())
  const changing = ['POST', 'PUT', 'DELETE', 'PATCH']
  const paths = [...new Set(served.map(([, { path }]) => path))]

  test.each(paths.filter((path) => !changing.every((each) => methodsAt(path).includes(each))))(
    'at %s refuses each method that the contract does not name',
    async (path) => {
      const methods = methodsAt(path)
      const other = changing.find((method) => !methods.includes(method))
      const { status, headers } = await gateway.send(path.replaceAll(/\{\w+\}/g, 'nothing'), {
        method: other ?? 'POST',
        headers: admin,
      })

      expect(status).toBe(405)
      const allowed = String(headers['allow']).split(', ')
      expect(allowed.filter((method) => method !== 'HEAD').toSorted()).toEqual(methods.toSorted())
    },
  )
})
