export { GatewayProcess, processesWith, type GatewayOptions } from './gateway-process.ts'
export { officialServer, programs } from './programs.ts'
