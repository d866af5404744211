export { FixtureProcess, stdioFixtures, type Era } from './conformance/fixture-process.ts'
export type { Probe } from './conformance/hostile-behaviours.ts'
export { GatewayProcess, processesWith, type GatewayOptions } from './gateway-process.ts'
export { azureServer, officialServer, programs } from './programs.ts'
