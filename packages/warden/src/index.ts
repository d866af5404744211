export { endMarked, newMark, startWarden, type Warden, type WardenOptions } from './warden.ts'
