export * from './adapters.ts'
export * from './problem.ts'
