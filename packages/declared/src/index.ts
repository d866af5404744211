export * from './converge.ts'
export * from './documents.ts'
