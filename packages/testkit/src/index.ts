export { cacheFolder } from './cache-folder.ts'
export { FixtureProcess, stdioFixtures, type Era } from './conformance/fixture-process.ts'
export type { Probe } from './conformance/hostile-behaviours.ts'
export { freePort } from './free-port.ts'
export {
  familyOf,
  GatewayProcess,
  killAll,
  processesWith,
  type GatewayOptions,
} from './gateway-process.ts'
export { hasEnded } from './has-ended.ts'
export { IdentityProvider, type Account, type Shape } from './identity-provider.ts'
export { PgBouncer, PostgresServer, type PostgresSettings } from './postgres-server.ts'
export { azureServer, officialServer, programs, quoted } from './programs.ts'
export { brokenAnswers, RawAnswers, sneakyAnswers } from './raw-answers.ts'
export { passOn, RoundRobin } from './round-robin.ts'
export { selfSigned } from './self-signed.ts'
export { skipNote } from './skip-note.ts'
export { ToolPlane } from './tool-plane.ts'
export { openOriginalGateway, type OriginalGateway } from './original-gateway.ts'
