import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'

interface Document {
  readonly name: string
  readonly state: string
  readonly reason?: string
}

interface Status {
  readonly phase: string
  readonly revision?: string
  readonly problems: readonly string[]
  readonly counts: Readonly<Record<string, number>>
  readonly documents?: readonly Document[]
}

const admin = { 'x-dev-userid': 'root', 'x-dev-roles': 'mcp.admin' }
const dave = { 'x-dev-userid': 'dave', 'x-dev-roles': 'mcp.engineer' }

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'mcpgw-declared-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

function adapter(name: string, more = ''): string {
  return (
    `kind: Adapter\nname: ${name}\nimageName: scripted\nimageVersion: '1'\nreplicaCount: 0\n` +
    `${more}`
  )
}

function settings(folder: string, more: object = {}) {
  return { declared: { team: { folder, pollSeconds: 0.02, ...more } } }
}

async function openGateway(folder: string, more: object = {}): Promise<TestGateway> {
  const gateway = await TestGateway.open(settings(folder, more))
  onTestFinished(() => gateway[Symbol.asyncDispose]())
  return gateway
}

async function statusOf(gateway: TestGateway, headers: object = admin): Promise<Status> {
  const { body } = await gateway.send('/status', { method: 'GET', headers: { ...headers } })
  return (JSON.parse(body.toString()) as { declared: { team: Status } }).declared.team
}

/** Gives the status once it fits. */
async function until(gateway: TestGateway, wanted: (status: Status) => boolean): Promise<Status> {
  return expect
    .poll(() => statusOf(gateway), { timeout: 20_000, interval: 20 })
    .toSatisfy(wanted)
    .then(() => statusOf(gateway))
}

async function get(gateway: TestGateway, path: string, headers: object = admin) {
  const { status, body } = await gateway.send(path, { method: 'GET', headers: { ...headers } })
  return { status, body: JSON.parse(body.toString()) as Record<string, unknown> }
}

async function change(gateway: TestGateway, method: string, path: string, body?: object) {
  const answer = await gateway.send(path, {
    method,
    headers: { ...admin, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = answer.body.toString()
  return {
    status: answer.status,
    body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>),
  }
}

describe('A folder of files', () => {
  test('the gateway creates, changes and removes what a folder declares', async () => {
    const folder = newFolder()
    writeFileSync(join(folder, 'a.yaml'), adapter('one', '---\n' + adapter('two')))
    const gateway = await openGateway(folder)
    await until(gateway, ({ counts }) => counts['applied'] === 2)
    expect((await get(gateway, '/adapters/one')).body).toMatchObject({
      declared: { source: 'team', file: 'a.yaml' },
      owner: { id: 'dev', issuer: 'development' },
    })

    writeFileSync(join(folder, 'a.yaml'), adapter('one', 'description: changed'))
    await until(gateway, ({ documents }) => documents?.length === 1)
    expect((await get(gateway, '/adapters/one')).body).toMatchObject({ description: 'changed' })
    expect((await get(gateway, '/adapters/two')).status).toBe(404)
  })

  test('declared servers answer, and survive a restart of the gateway', async () => {
    const folder = newFolder()
    writeFileSync(
      join(folder, 'a.yaml'),
      adapter('one').replace('replicaCount: 0', 'replicaCount: 1'),
    )
    const gateway = await openGateway(folder)
    await until(gateway, ({ phase }) => phase === 'Applied')
    await gateway.untilReady('one', 1, admin)
    const before = (await get(gateway, '/adapters/one')).body

    const again = await gateway.reopen(settings(folder))
    onTestFinished(() => again[Symbol.asyncDispose]())
    await until(again, ({ phase }) => phase === 'Applied')
    expect((await get(again, '/adapters/one')).body).toEqual(before)
  })

  test('the gateway follows a folder that is swapped as a whole, as a ConfigMap is', async () => {
    const folder = newFolder()
    for (const version of ['..one', '..two']) mkdirSync(join(folder, version))
    writeFileSync(join(folder, '..one', 'a.yaml'), adapter('one'))
    writeFileSync(join(folder, '..two', 'a.yaml'), adapter('two'))
    symlinkSync('..one', join(folder, '..data'))
    symlinkSync('..data/a.yaml', join(folder, 'a.yaml'))
    const gateway = await openGateway(folder)
    await until(gateway, ({ documents }) => documents?.[0]?.name === 'one')

    symlinkSync('..two', join(folder, '..next'))
    renameSync(join(folder, '..next'), join(folder, '..data'))
    await until(gateway, ({ documents }) => documents?.length === 1 && documents[0]?.name === 'two')
    expect((await get(gateway, '/adapters/one')).status).toBe(404)
  })

  test('an unreadable document holds up no other, and removes nothing', async () => {
    const folder = newFolder()
    writeFileSync(join(folder, 'a.yaml'), adapter('one'))
    const gateway = await openGateway(folder)
    await until(gateway, ({ phase }) => phase === 'Applied')

    writeFileSync(join(folder, 'a.yaml'), 'kind: [')
    writeFileSync(join(folder, 'b.yaml'), adapter('two'))
    const status = await until(
      gateway,
      ({ counts }) => counts['applied'] === 1 && counts['kept'] === 1,
    )
    expect(status).toMatchObject({
      phase: 'Degraded',
      problems: [expect.stringMatching(/^a\.yaml:\d+: /)],
    })
    expect((await get(gateway, '/adapters/one')).status).toBe(200)
  })

  test('a document that breaks rules gets each mistake named, and works once mended', async () => {
    const folder = newFolder()
    writeFileSync(join(folder, 'a.yaml'), adapter('one', 'callerIdentity: shouted'))
    const gateway = await openGateway(folder)
    const { documents } = await until(gateway, ({ counts }) => counts['failed'] === 1)
    expect(documents?.[0]?.reason).toMatch(/\/callerIdentity/)

    writeFileSync(join(folder, 'a.yaml'), adapter('one', 'callerIdentity: none'))
    await until(gateway, ({ phase }) => phase === 'Applied')
    expect(
      gateway.log.filter(({ msg }) => msg === 'a declared resource was not applied'),
    ).toHaveLength(1)
  })

  test.each(['gone', 'empty'])('a folder that is %s removes nothing', async (how) => {
    const folder = newFolder()
    writeFileSync(join(folder, 'a.yaml'), adapter('one'))
    const gateway = await openGateway(folder)
    await until(gateway, ({ phase }) => phase === 'Applied')

    rmSync(how === 'gone' ? folder : join(folder, 'a.yaml'), { recursive: true })
    await until(gateway, ({ phase, counts }) =>
      how === 'gone' ? phase === 'Unavailable' : counts['kept'] === 1,
    )
    expect((await get(gateway, '/adapters/one')).status).toBe(200)
  })

  test('the error about a missing folder names it in full', async () => {
    const folder = join(newFolder(), 'missing')
    const gateway = await openGateway(folder)

    const { problems } = await until(gateway, ({ phase }) => phase === 'Unavailable')
    expect(problems).toEqual([`The folder '${folder}' does not exist.`])
  })

  test('a folder acts with the rights of its source alone', async () => {
    const folder = newFolder()
    writeFileSync(join(folder, 'a.yaml'), adapter('one'))
    const gateway = await TestGateway.open({
      ...settings(folder, { roles: ['mcp.engineer'] }),
      access: { create: { adapter: ['mcp.platform'] } },
    })
    onTestFinished(() => gateway[Symbol.asyncDispose]())

    const { documents } = await until(gateway, ({ counts }) => counts['failed'] === 1)
    expect(documents?.[0]?.reason).toMatch(/needs one of these roles: mcp\.admin, mcp\.platform/)
  })

  test('the audit log records each change and each refusal of a folder', async () => {
    const folder = newFolder()
    writeFileSync(join(folder, 'a.yaml'), adapter('one', '---\n' + adapter('Two')))
    const path = join(newFolder(), 'audit.log')
    const gateway = await TestGateway.open({
      ...settings(folder),
      audit: { sinks: [{ type: 'file', path }] },
    })
    onTestFinished(() => gateway[Symbol.asyncDispose]())
    await until(gateway, ({ counts }) => counts['applied'] === 1 && counts['failed'] === 1)
    await gateway[Symbol.asyncDispose]()

    const records = readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(records).toContainEqual(
      expect.objectContaining({
        action: 'adapter.create',
        outcome: 'allowed',
        principal: {
          issuer: 'development',
          id: 'dev',
          name: 'team',
          method: 'declared team',
        },
        resource: expect.objectContaining({ name: 'one' }),
      }),
    )
    expect(records).toContainEqual(
      expect.objectContaining({
        action: 'adapter.create',
        outcome: 'failed',
        code: 'validation_failed',
      }),
    )
  })
})

describe('A resource that a file declares', () => {
  test.each([
    ['PUT', '', { imageName: 'scripted', imageVersion: '2' }],
    ['PATCH', '', { description: 'mine' }],
    ['DELETE', '', undefined],
    ['PUT', '/owner', { id: 'root' }],
    ['PUT', '/offer', { id: 'dave' }],
  ])('a declared resource is not changed by %s of the REST API%s', async (method, below, body) => {
    const folder = newFolder()
    writeFileSync(join(folder, 'a.yaml'), adapter('one'))
    const gateway = await openGateway(folder)
    await until(gateway, ({ phase }) => phase === 'Applied')

    const given = below === '' && method === 'PUT' ? { name: 'one', ...body } : body
    const answer = await change(gateway, method, `/adapters/one${below}`, given)
    expect(answer).toMatchObject({
      status: 409,
      body: { code: 'declared_in_file', detail: expect.stringContaining("'a.yaml'") },
    })
  })

  test('the REST API may restart a declared resource', async () => {
    const folder = newFolder()
    writeFileSync(join(folder, 'a.yaml'), adapter('one'))
    const gateway = await openGateway(folder)
    await until(gateway, ({ phase }) => phase === 'Applied')

    expect((await change(gateway, 'POST', '/adapters/one/restart')).status).toBe(202)
  })

  test('a declared resource runs an image only while its source has the role', async () => {
    const folder = newFolder()
    writeFileSync(
      join(folder, 'a.yaml'),
      adapter('one').replace('replicaCount: 0', 'replicaCount: 1'),
    )
    const rules = {
      create: { adapter: ['team', 'other'] },
      images: [{ pattern: 'scripted:*', roles: ['team'] }],
    }
    const withRole = (role: string) => ({ ...settings(folder, { roles: [role] }), access: rules })
    const reason = async (gateway: TestGateway): Promise<string> =>
      JSON.stringify((await get(gateway, '/adapters/one/status')).body['conditions'])
    const first = await TestGateway.open(withRole('team'))
    await until(first, ({ phase }) => phase === 'Applied')
    await first.untilReady('one', 1, admin)

    const other = await first.reopen(withRole('other'))
    await expect.poll(() => reason(other)).toContain('ImageNotAllowed')

    await using again = await other.reopen(withRole('team'))
    await again.untilReady('one', 1, admin)
  })

  test('a resource belongs to the REST API once its source is removed', async () => {
    const folder = newFolder()
    writeFileSync(join(folder, 'a.yaml'), adapter('one'))
    const gateway = await openGateway(folder)
    await until(gateway, ({ phase }) => phase === 'Applied')

    const without = await gateway.reopen({})
    onTestFinished(() => without[Symbol.asyncDispose]())
    expect((await change(without, 'PATCH', '/adapters/one', { description: 'mine' })).status).toBe(
      200,
    )
    expect((await get(without, '/adapters/one')).body).not.toHaveProperty('declared')
  })
})

describe('A resource that the REST API has made', () => {
  test('a document takes over a resource of the REST API only by adopt', async () => {
    const folder = newFolder()
    const gateway = await openGateway(folder)
    await change(gateway, 'POST', '/adapters', {
      name: 'one',
      imageName: 'scripted',
      imageVersion: '1',
      replicaCount: 0,
    })

    writeFileSync(join(folder, 'a.yaml'), adapter('one', 'description: declared'))
    const { documents } = await until(gateway, ({ counts }) => counts['failed'] === 1)
    expect(documents?.[0]?.reason).toMatch(/REST API made the adapter 'one'/)
    expect((await get(gateway, '/adapters/one')).body).toMatchObject({ description: '' })

    writeFileSync(join(folder, 'a.yaml'), adapter('one', 'description: declared\nadopt: true'))
    await until(gateway, ({ phase }) => phase === 'Applied')
    expect((await get(gateway, '/adapters/one')).body).toMatchObject({
      description: 'declared',
      owner: { id: 'root' },
      declared: { source: 'team' },
    })
  })

  test('a resource of the REST API survives without a document', async () => {
    const folder = newFolder()
    writeFileSync(join(folder, 'a.yaml'), adapter('one'))
    const gateway = await openGateway(folder)
    await change(gateway, 'POST', '/adapters', {
      name: 'mine',
      imageName: 'scripted',
      imageVersion: '1',
      replicaCount: 0,
    })
    await until(gateway, ({ phase }) => phase === 'Applied')

    expect((await get(gateway, '/adapters/mine')).status).toBe(200)
  })
})

test('the gateway refuses a file that is too long before it reads it', async () => {
  const folder = newFolder()
  writeFileSync(join(folder, 'a.yaml'), adapter('one'))
  const gateway = await openGateway(folder)
  await until(gateway, ({ phase }) => phase === 'Applied')
  // A reading between the end of one file and the start of another would find an empty folder.
  const long = join(newFolder(), 'long.yaml')
  writeFileSync(long, `${adapter('two')}# ${'x'.repeat(1024 * 1024)}`)
  renameSync(long, join(folder, 'a.yaml'))

  const { problems } = await until(gateway, ({ phase }) => phase === 'Unavailable')
  expect(problems).toEqual(['a.yaml has more than 1048576 bytes. Split it into several files.'])
  expect((await get(gateway, '/adapters/one')).status).toBe(200)
})

describe('The status of the gateway', () => {
  test('administrators alone see documents, problems and the folder in the status', async () => {
    const folder = newFolder()
    writeFileSync(join(folder, 'a.yaml'), adapter('one', '---\nkind: Nothing\n'))
    const gateway = await openGateway(folder)
    await until(gateway, ({ counts }) => counts['applied'] === 1)

    const status = await statusOf(gateway, dave)
    expect(status).toMatchObject({ phase: 'Degraded', counts: { applied: 1 }, problems: [] })
    expect(status).not.toHaveProperty('documents')
    expect(status).not.toHaveProperty('folder')
    expect(await statusOf(gateway)).toHaveProperty('folder', folder)
  })
})
