import { DocumentReader } from '../control/tool-import/openapi/document-reader.ts'
import { DocumentFetcher, type Fetched } from '../upstream/document-fetcher.ts'
import type { Composition } from './composition.ts'
import { endpointRules } from './endpoint-rules.ts'

/** Largest document in bytes. Those of the largest public services have twelve million. */
const largestDocument = 16 * 1024 * 1024
const fetchMs = 20_000

/** Opens the parts that read documents of others, from which tools are imported. */
export function openImports({ config, parts }: Composition) {
  const fetcher = parts.use(
    new DocumentFetcher({
      policy: endpointRules(config).tool.policy,
      limitBytes: largestDocument,
      timeoutMs: fetchMs,
    }),
  )
  return {
    documents: parts.use(new DocumentReader()),
    fetchDocument: (url: string): Promise<Fetched | { readonly refusal: string }> =>
      fetcher.fetch(url),
  }
}
