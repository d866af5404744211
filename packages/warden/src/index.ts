export { ArgumentError, checkArguments, splitArguments } from './arguments.ts'
export { lastWords } from './last-words.ts'
export { endMarked, newMark, startWarden, type Warden, type WardenOptions } from './warden.ts'
