/** Suggests the known word that differs only by case or by at most two letters. */
export function suggestion(word: string, known: readonly string[]): string {
  if (word.length >= 64) return ''

  const [closest] = known
    .map((name) => ({ name, far: distance(name.toLowerCase(), word.toLowerCase()) }))
    .filter(({ far }) => far <= 2 && far * 2 <= word.length)
    .toSorted((a, b) => a.far - b.far)
  return closest === undefined ? '' : ` Did you mean '${closest.name}'?`
}

/** Levenshtein distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= b.length; j += 1) {
      next.push(
        Math.min(
          (row[j] ?? 0) + 1,
          (next[j - 1] ?? 0) + 1,
          (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1),
        ),
      )
    }
    row = next
  }
  return row[b.length] ?? 0
}
