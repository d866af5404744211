/** Reads the text of an env file. Nothing is expanded, and lines without `=` are skipped. */
export function readEnvFile(text: string): [name: string, value: string][] {
  return text.split(/\r?\n/).flatMap((line): [string, string][] => {
    const [, name, raw = ''] =
      /^\s*(?:export\s+)?([A-Za-z_][\w.-]*)\s*=\s*(.*?)\s*$/.exec(line) ?? []
    return name === undefined ? [] : [[name, unquoted(raw)]]
  })
}

function unquoted(raw: string): string {
  const [, single] = /^'([^']*)'/.exec(raw) ?? []
  if (single !== undefined) return single
  const [, double] = /^"((?:[^"\\]|\\.)*)"/.exec(raw) ?? []
  if (double !== undefined)
    return double.replaceAll(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped))
  return raw.replace(/\s+#.*$/, '')
}
