import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as (options: { type: 'minor' }) => void

/**
 * V8 sees only the small heads of such buffers, and lets 32 MB gather
 * (`Heap::AllocateExternalBackingStore`: twice the largest semi-space).
 */
const bytesPerCollection = 8 * 1024 * 1024
// One count for the process, because the process has one heap.
let bytes = 0

/**
 * Counts a chunk that was passed on and is garbage now. Each 8 MB cause a collection of the young
 * generation, which takes about a millisecond and keeps streams from filling the memory.
 */
export function chunkPassed(length: number): void {
  bytes += length
  if (bytes < bytesPerCollection) return
  bytes = 0
  collect({ type: 'minor' })
}
