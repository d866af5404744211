import { register } from 'node:module'

// The suites import fs.globSync for a command that is not used here. Node.js 20 does not have it.
const program = 'export * from "node:fs"; export const globSync = () => []'
const withGlob = `data:text/javascript,${encodeURIComponent(program)}`
const hooks = `export const resolve = (name, context, next) =>
  name === 'fs' && /conformance-/.test(context.parentURL)
    ? { url: ${JSON.stringify(withGlob)}, shortCircuit: true }
    : next(name, context)`
register(`data:text/javascript,${encodeURIComponent(hooks)}`)
