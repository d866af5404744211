const text = String.raw`"[^"\\]*(?:\\[\s\S][^"\\]*)*"?`
const comments = new RegExp(String.raw`${text}|\/\/[^\n\r]*|\/\*[\s\S]*?(?:\*\/|$)`, 'g')
const trailingCommas = new RegExp(String.raw`${text}|,(?=\s*[}\]])`, 'g')

/** Takes comments, trailing commas and a byte order mark from JSON as editors write it. */
export function plainJson(source: string): string {
  const bare = source.startsWith('\ufeff') ? source.slice(1) : source
  return bare
    .replaceAll(comments, (found) => (found.startsWith('"') ? found : ' '))
    .replaceAll(trailingCommas, (found) => (found.startsWith('"') ? found : ' '))
}
