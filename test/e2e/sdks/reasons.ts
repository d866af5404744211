import type { Cell, Step } from './cells.ts'

/** Gives the reason why a step cannot work through any gateway; undefined if it has to work. */
export function reasonFor({ client }: Cell, step: Step): string | undefined {
  if (client.name === 'java-modern' && step === 'log')
    return 'log: the modern client of Java has no way to hear log messages.'
  return undefined
}
