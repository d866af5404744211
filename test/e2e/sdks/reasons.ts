import type { Cell, Step } from './cells.ts'

/** Why a step cannot work through any gateway; undefined when it has to. */
export function reasonFor({ client }: Cell, step: Step): string | undefined {
  if (client.name === 'java-modern' && step === 'log')
    return 'log: the modern client of Java has no way to hear log messages.'
  return undefined
}
