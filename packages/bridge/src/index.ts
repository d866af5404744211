export { ArgumentError, splitArguments } from './arguments.ts'
