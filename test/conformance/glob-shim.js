import { register } from 'node:module'

// The suites import `globSync` from `fs`, which Node 20 does not have, for a command that is not used here.
const fs = 'data:text/javascript,export * from "node:fs"; export { default } from "node:fs"; export const globSync = () => []'
const hooks = `export const resolve = (specifier, context, next) => specifier === 'fs' && context.parentURL?.includes('/conformance-')
  ? { url: ${JSON.stringify(fs)}, shortCircuit: true } : next(specifier, context)`
register(`data:text/javascript,${encodeURIComponent(hooks)}`)
