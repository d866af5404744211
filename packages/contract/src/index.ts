export * from './adapters.ts'
export * from './endpoints.ts'
export * from './openapi.ts'
export * from './problem.ts'
