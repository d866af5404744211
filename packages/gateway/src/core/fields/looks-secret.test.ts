import { describe, expect, test } from 'vitest'
import { looksSecret } from './looks-secret.ts'

describe('secret-looking environment values', () => {
  test.each([
    ['OPENAI_API_KEY', 'abc'],
    ['GITHUB_TOKEN', 'x'],
    ['DB_PASSWORD', 'hunter2'],
    ['AZURE_CLIENT_SECRET', 'x'],
    ['MYSQL_PWD', 'x'],
    ['COSMOS_CONNECTION_STRING', 'x'],
    ['MCP_PROXY_HEADERS', '{"Authorization":"Bearer x"}'],
    ['ADO_PAT', 'x'],
    ['accessToken', 'x'],
    ['DATABASE_URL', 'postgres://user:secret@db.example/x'],
    ['WHATEVER', 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc'],
    ['WHATEVER', 'sk-abcdefghijkl'],
    ['MCP_ARGS', '-y server --api-key abcdef'],
    ['MCP_ARGS', "'-y' 'server' '--access-token=abcdef'"],
    ['MCP_ARGS', '-y server ghp_0123456789abcdef'],
    ['MCP_ARGS', `mcp-remote https://x.example --header "Authorization: Bearer abcdefgh"`],
    ['MCP_ARGS', 'postgres postgresql://user:pass@db.example/x'],
    ['MCP_PROXY_HEADERS_SECRET_URL', 'https://example.com/secrets/mcp-headers?code=abc'],
    ['STORAGE', 'DefaultEndpointsProtocol=https;AccountKey=abc'],
  ])('the variable %s=%s looks secret', (name, value) => {
    expect(looksSecret(name, value)).toBe(true)
  })

  test.each([
    ['MCP_COMMAND', 'npx'],
    ['MCP_ARGS', '-y @modelcontextprotocol/server-everything'],
    ['MCP_ARGS', '--key-file /etc/key.pem --token-file=./token'],
    ['MCP_ARGS', '--auth none --max-tokens 4096 --read-only'],
    ['MCP_ARGS', "-e 'const token = process.env.TOKEN'"],
    ['MCP_PROXY_URL', 'http://localhost:3001/mcp'],
    ['AZURE_TOKEN_CREDENTIALS', 'WorkloadIdentityCredential'],
    ['ADO_MCP_AZURE_TOKEN_CREDENTIALS', 'WorkloadIdentityCredential'],
    ['AZURE_MCP_INCLUDE_PRODUCTION_CREDENTIALS', 'true'],
    ['DOTNET_SYSTEM_GLOBALIZATION_INVARIANT', '1'],
    ['KEYBOARD', 'de'],
    ['MONKEY', 'x'],
    ['MAX_TOKENS', '4096'],
    ['MCP_PROXY_HEADERS_SECRET_URL', 'https://acme.vault.azure.net/secrets/mcp-headers'],
    ['MCP_PROXY_HEADERS_REFRESH_SECONDS', '60'],
  ])('the variable %s=%s does not look secret', (name, value) => {
    expect(looksSecret(name, value)).toBe(false)
  })
})
