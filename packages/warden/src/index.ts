export { ArgumentError, checkArguments, splitArguments } from './arguments.ts'
export { lastWords } from './last-words.ts'
export {
  endMarked,
  markOf,
  newMark,
  startWarden,
  type Mark,
  type Warden,
  type WardenOptions,
} from './warden.ts'
