import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ApiKeyCreated } from '@mcp-gateway/contract'
import { GatewayProcess, programs } from '@mcp-gateway/testkit'
import { describe, expect, test } from 'vitest'

const teller = {
  command: [
    process.execPath,
    '-e',
    "require('node:http').createServer((_, response) => response.setHeader('content-type'," +
      " 'application/json').end(JSON.stringify(process.env))).listen(process.env.PORT," +
      ' process.env.HOST)',
  ],
}
const newKey = (): string => randomBytes(32).toString('base64')
const withKeys = (...keys: string[]): object => ({
  runtime: { images: { teller } },
  secrets: { keys },
})

/** Gives the server's value of a variable; undefined while it does not serve. */
async function valueOf(
  gateway: GatewayProcess,
  name: string,
  variable: string,
): Promise<string | undefined> {
  const { status, body } = await gateway.api('POST', `/adapters/${name}/mcp`, {})
  return status === 200 ? (body as Record<string, string>)[variable] : undefined
}

const server = (name: string): object => ({
  name,
  imageName: 'teller',
  imageVersion: '1',
  environmentVariables: {
    KEY: { secretRef: { name: 'key' } },
    PASSWORD: { value: 'of-its-own', secret: true },
  },
})

describe('secrets, on a gateway that is killed', () => {
  test('secrets and API keys survive a kill as they were acknowledged', async () => {
    await using gateway = await GatewayProcess.start({ config: withKeys() })
    await gateway.api('POST', '/secrets', { name: 'key', value: 'value-0' })
    await gateway.api('POST', '/adapters', server('one'))
    const made: string[] = []
    for (let round = 1; round <= 3; round += 1) {
      expect(
        (await gateway.api('PUT', '/secrets/key', { name: 'key', value: `value-${round}` })).status,
      ).toBe(200)
      made.push(((await gateway.api('POST', '/api-keys', { name: 'k' })).body as ApiKeyCreated).key)
      await gateway.end('SIGKILL')
      await gateway.startAgain()
      await expect.poll(() => valueOf(gateway, 'one', 'KEY')).toBe(`value-${round}`)
      for (const key of made)
        expect(
          (await gateway.api('GET', '/api-keys', undefined, { authorization: `Bearer ${key}` }))
            .status,
        ).toBe(200)
    }
    expect(existsSync(join(gateway.dataDir, 'secrets.key'))).toBe(true)
    for (const text of ['value-', 'of-its-own', ...made]) expect(gateway.output).not.toContain(text)
  })
})

describe('changing the keys of secrets', () => {
  test('keys change from the kept one to others, and missing keys are reported', async () => {
    await using first = await GatewayProcess.start({ config: withKeys() })
    const { dataDir } = first
    await first.api('POST', '/secrets', { name: 'key', value: 'kept' })
    await first.api('POST', '/adapters', server('one'))
    await first.end('SIGTERM')
    const config = join(dataDir, 'rotation.yaml')
    const command = (words: string[], keys: string[]) => {
      writeFileSync(config, JSON.stringify(withKeys(...keys)))
      const { status, stdout, stderr } = spawnSync(process.execPath, [programs.gateway, ...words], {
        env: { ...process.env, MCPGW_CONFIG: config, MCPGW_DATA_DIR: dataDir },
        encoding: 'utf8',
      })
      return { status, text: stdout + stderr }
    }
    const [one, two] = [newKey(), newKey()]
    expect(command(['secrets', 'rotate'], [one])).toEqual({
      status: 0,
      text: '2 resources were sealed with the first key.\n',
    })
    expect(command(['secrets', 'rotate'], [one])).toEqual({
      status: 0,
      text: '0 resources were sealed with the first key.\n',
    })

    rmSync(join(dataDir, 'secrets.key'))
    const lost = command(['secrets', 'rotate'], [two])
    expect(lost).toMatchObject({
      status: 1,
      text: expect.stringMatching(/left as they are: one, key/) as string,
    })

    const printed = command(['config', 'print'], [one, two])
    expect(printed.status).toBe(0)
    for (const key of [one, two]) expect(printed.text).not.toContain(key)

    {
      // A gateway with the wrong key starts, serves the rest, and reports the affected resources.
      await using wrong = await GatewayProcess.start({ dataDir, config: withKeys(two) })
      await wrong.untilStatus('one', ({ conditions }) =>
        conditions.some(({ reason }) => reason === 'SecretUnreadable'),
      )
      await expect.poll(() => wrong.output).toContain('cannot be decrypted')
    }
    {
      await using both = await GatewayProcess.start({ dataDir, config: withKeys(two, one) })
      await expect.poll(() => valueOf(both, 'one', 'KEY')).toBe('kept')
      expect(await valueOf(both, 'one', 'PASSWORD')).toBe('of-its-own')
    }
    await using last = await GatewayProcess.start({ dataDir, config: withKeys(two) })
    await expect.poll(() => valueOf(last, 'one', 'KEY')).toBe('kept')

    const store = readFileSync(join(dataDir, 'gateway.db'), 'latin1')
    for (const text of ['kept', 'of-its-own']) expect(store).not.toContain(`"${text}"`)
  })
})
