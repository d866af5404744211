/** What is in the middle: a machine that is shared has moments that say nothing of a program. */
export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
