/** A Markdown table with columns of equal width, as `npm run format` leaves it. */
export function markdownTable(head, rows) {
  const escaped = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll('|', '\\|')))
  const widths = head.map((_, column) =>
    Math.max(3, ...escaped.map((row) => [...row[column]].length)),
  )
  const line = (cells) => `| ${cells.join(' | ')} |`
  const padded = escaped.map((row) =>
    line(row.map((cell, column) => cell + ' '.repeat(widths[column] - [...cell].length))),
  )
  return [padded[0], line(widths.map((width) => '-'.repeat(width))), ...padded.slice(1)].join('\n')
}
