export { StdioBridge, type StdioBridgeOptions } from './stdio-bridge.ts'
export { endMarked, newMark, startWarden, type Warden, type WardenOptions } from './warden.ts'
