import { BaseSequencer, type TestSpecification, type TestSequencerConstructor } from 'vitest/node'

/**
 * Starts the named files first, in this order, so that no worker runs a slow file alone at the end.
 * The others follow by project, because a shared process ends when the next file is of another one.
 */
export function slowFirst(...names: readonly string[]): TestSequencerConstructor {
  const rank = ({ moduleId }: TestSpecification): number => {
    const at = names.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`))
    return at === -1 ? names.length : at
  }
  return class extends BaseSequencer {
    override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
      const sorted = (await super.sort(files)).toSorted((one, other) => rank(one) - rank(other))
      const projects = [...new Set(sorted.map(({ project }) => project))]
      const place = (file: TestSpecification): number =>
        rank(file) < names.length ? -1 : projects.indexOf(file.project)
      return sorted.toSorted((one, other) => place(one) - place(other))
    }
  }
}
