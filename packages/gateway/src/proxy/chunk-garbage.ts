import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as (options: { type: 'minor' }) => void

const bytesPerCollection = 8 * 1024 * 1024
let bytes = 0

/**
 * Counts a chunk that was passed on and is garbage now. V8 sees only the small heads of such buffers and lets 32 MB of them gather
 * (`Heap::AllocateExternalBackingStore`: twice the largest semi-space); a collection of the young generation, which takes about a
 * millisecond, for every 8 MB keeps what streams from becoming memory. The heap is the process's, so this is too.
 */
export function chunkPassed(length: number): void {
  bytes += length
  if (bytes < bytesPerCollection) return
  bytes = 0
  collect({ type: 'minor' })
}
