import { fileURLToPath } from 'node:url'
import { GatewayProcess } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compareRuns, runClientScenario, tally } from './run-suite.ts'

/**
 * The client suites: the same official client at the suite's server, alone and through the gateway.
 * The suites for authorization are left out, because a client of a gateway is authorized by that
 * gateway.
 */
let gateway: GatewayProcess
beforeAll(async () => {
  gateway = await GatewayProcess.start()
})
afterAll(() => gateway[Symbol.asyncDispose]())

const command =
  `${process.execPath} --import tsx --conditions=mcpgw-source ` +
  `${fileURLToPath(new URL('client.ts', import.meta.url))}`

const scenarios = [
  ['initialize', '2025-11-25'],
  ['tools_call', '2025-11-25'],
  ['elicitation-sep1034-client-defaults', '2025-11-25'],
  ['sse-retry', '2025-11-25'],
  ['tools_call', '2026-07-28'],
  ['request-metadata', '2026-07-28'],
  ['sep-2322-client-request-state', '2026-07-28'],
  ['http-standard-headers', '2026-07-28'],
  ['http-custom-headers', '2026-07-28'],
  ['http-invalid-tool-headers', '2026-07-28'],
  ['json-schema-ref-no-deref', '2026-07-28'],
] as const

describe.concurrent('a client behind the gateway', () => {
  test.each(scenarios)(
    'the scenario %s of %s has the same result as without the gateway',
    async (scenario, specVersion) => {
      const alone = await runClientScenario({ command, scenario, specVersion })
      const through = await runClientScenario({
        command,
        scenario,
        specVersion,
        environment: { GATEWAY: gateway.origin },
      })
      expect(tally(alone).passed).toBeGreaterThan(0)
      // The gateway asks an unknown server by an `initialize` of its own, and the suite counts this
      // too.
      const differences = compareRuns(alone, through).filter(
        ({ check, direct, through: told }) =>
          !(check.endsWith('Initialization 2') && direct === 'absent' && told === 'SUCCESS'),
      )
      expect(differences).toEqual([])
    },
  )
})
