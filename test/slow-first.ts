import { BaseSequencer, type TestSpecification, type TestSequencerConstructor } from 'vitest/node'

/**
 * Starts the named files first, in this order, so that no worker runs a slow file alone at the end.
 * Without figures of earlier runs, Vitest starts the largest file first.
 */
export function slowFirst(...names: readonly string[]): TestSequencerConstructor {
  const rank = ({ moduleId }: TestSpecification): number => {
    const at = names.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`))
    return at === -1 ? names.length : at
  }
  return class extends BaseSequencer {
    override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
      return (await super.sort(files)).toSorted((one, other) => rank(one) - rank(other))
    }
  }
}
