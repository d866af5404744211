export { ArgumentError, splitArguments } from './arguments.ts'
export { lastWords } from './last-words.ts'
