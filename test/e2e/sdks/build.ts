import { build, missing, sdks } from './languages.ts'

/** Builds the programs of each SDK whose toolchain is there: `npm run sdks`. */
for (const sdk of sdks) {
  const start = performance.now()
  build(sdk)
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  console.log(`${sdk.title}: ${missing(sdk) ?? `ready after ${seconds} s`}`)
}
