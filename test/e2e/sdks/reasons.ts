import type { Cell, Step } from './cells.ts'

/** Why a step cannot work through any gateway; undefined when it has to. */
export function reasonFor(_cell: Cell, _step: Step): string | undefined {
  return undefined
}
