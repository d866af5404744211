export const usage = `mcp-gateway: one address for all MCP servers

  mcp-gateway                  start (npm start)
  mcp-gateway --demo           start, register the samples, make real calls, stay up
  mcp-gateway config check     read the configuration and report every mistake
  mcp-gateway config print     print it with its defaults
  mcp-gateway config schema    print the JSON Schema of the file
  mcp-gateway audit verify FILE [--head HASH]
                               check that nothing in an audit log was changed, left out or put in
  mcp-gateway keys create SECRET
                               make the keys that gateways and tool gateways share, as a Secret
                               of the cluster, unless it is there
  mcp-gateway store migrate    bring the schema of the store up to date, as every start does
  mcp-gateway store copy --from FILE | --to FILE
                               copy all from an SQLite file into the configured store, or the
                               other way
  mcp-gateway secrets rotate   seal all stored secrets with the first of secrets.keys, as every
                               start does

Configuration: the YAML file that MCPGW_CONFIG names (or ./mcp-gateway.yaml), then MCPGW_…
variables, for example MCPGW_HOST, MCPGW_PORT, MCPGW_DATA_DIR. docs/configuration.md lists them all.
`

/** Writes a text to the terminal, and returns the exit code. */
export function say(text: string, code = 0): number {
  ;(code === 0 ? process.stdout : process.stderr).write(text)
  return code
}
