interface Shown {
  readonly info: { readonly title: string; readonly version: string; readonly description?: string }
  readonly paths: Readonly<Record<string, Readonly<Record<string, ShownOperation>>>>
}

interface ShownOperation {
  readonly summary?: string
  readonly parameters?: readonly {
    readonly name: string
    readonly in: string
    readonly description?: string
  }[]
  readonly requestBody?: {
    readonly content: Readonly<Record<string, { readonly example?: unknown }>>
  }
  readonly responses: Readonly<Record<string, { readonly description?: string }>>
}

const style = `
body {
  font: 16px/1.5 system-ui, sans-serif;
  max-width: 60rem;
  margin: 2rem auto;
  padding: 0 1rem;
  color: #1b1b1b;
  background: #fff;
}
summary { cursor: pointer; padding: .4rem 0 }
code, pre { font: 14px/1.4 ui-monospace, monospace }
pre { background: #f3f3f3; padding: .8rem; overflow: auto }
b { display: inline-block; width: 4.5rem }
td { padding: .1rem 1rem .1rem 0; vertical-align: top }
details { border-top: 1px solid #ddd }
@media (prefers-color-scheme: dark) {
  body { color: #eee; background: #1b1b1b }
  pre { background: #2b2b2b }
  a { color: #8cf }
  details { border-color: #444 }
}
`

/** Renders the API document as a page that needs no script and no external resource. */
export function apiPage(document: object): string {
  const { info, paths } = document as Shown
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => section(method, path, operation)),
  )

  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escape(info.title)} API</title>
<style>${style}</style>
<h1>${escape(info.title)} ${escape(info.version)}</h1>
<p>${escape(info.description ?? '')}</p>
<p>As a file: <a href="/openapi.json">openapi.json</a> (OpenAPI 3.1)</p>
${operations.join('\n')}
</html>
`
}

function section(method: string, path: string, operation: ShownOperation): string {
  const parameters = (operation.parameters ?? []).map(({ name, in: place, description }) =>
    row(`<code>${escape(name)}</code>`, `${place}. ${escape(description ?? '')}`),
  )
  const bodies = Object.entries(operation.requestBody?.content ?? {}).map(
    ([type, { example }]) =>
      `<p>Body, <code>${escape(type)}</code>:</p>` +
      (example === undefined ? '' : `<pre>${escape(JSON.stringify(example, null, 2))}</pre>`),
  )
  const responses = Object.entries(operation.responses).map(([status, { description }]) =>
    row(status, escape(description ?? '')),
  )

  const title = `<b>${method.toUpperCase()}</b> <code>${escape(path)}</code>`
  return [
    `<details><summary>${title} ${escape(operation.summary ?? '')}</summary>`,
    parameters.length === 0 ? '' : table(parameters),
    ...bodies,
    `<p>Answers:</p>${table(responses)}</details>`,
  ].join('\n')
}

function table(rows: readonly string[]): string {
  return `<table>${rows.join('')}</table>`
}

function row(...cells: readonly string[]): string {
  return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`
}

function escape(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}
