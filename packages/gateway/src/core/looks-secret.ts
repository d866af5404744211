/**
 * The default rule for what is a secret among environment variables. Marking a value `{"value", "secret"}` overrules it either way.
 *
 * By name: one of its words is of the list below. By value: it looks like a credential. Names that speak of credentials but hold a choice
 * (`AZURE_TOKEN_CREDENTIALS=WorkloadIdentityCredential`, `…_INCLUDE_PRODUCTION_CREDENTIALS=true`) are told by their value.
 */
export function looksSecret(name: string, value: string): boolean {
  if (secretValue.test(value)) return true
  if (name === 'MCP_ARGS') return holdsSecretArgument(value)
  return secretName.test(name) && !plainChoice.test(value) && !secretPlace.test(value)
}

/** `--token x`, `--api-key=x`, a key of a known provider, or `Bearer x`. */
function holdsSecretArgument(text: string): boolean {
  const words = text.split(/[\s'"]+/)
  return words.some((word, index) => {
    if (secretValue.test(word)) return true
    const next = words[index + 1] ?? ''
    if (/^bearer$/i.test(word)) return next.length >= 8
    const option = /^--?([A-Za-z][\w-]*)(?:=(.*))?$/.exec(word)
    const given = option?.[2] ?? next
    if (option === null || /^([-./~]|$)/.test(given)) return false
    return looksSecret(option[1] ?? '', given)
  })
}

const secretName =
  /(^|[-_.])(API_?KEYS?|KEYS?|TOKENS?|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|PWD|PAT|CREDENTIALS?|CONNECTION_?STRINGS?|PRIVATE|SAS|AUTH|AUTHORIZATION|COOKIES?|DSN|CERT|HEADERS|SIGNATURE)([-_.]|$)|(PASSWORD|SECRET|APIKEY|ACCESSKEY|TOKEN)$/i

/** Words and switches that name a way of doing things. */
const plainChoice = /^(true|false|yes|no|on|off|none|null|\d{1,6}|[A-Z][A-Za-z]*Credential)?$/

/** Where a secret of Azure Key Vault lies. The address opens nothing by itself. */
const secretPlace =
  /^https:\/\/[a-z0-9-]+\.vault\.(azure\.net|azure\.cn|usgovcloudapi\.net)\/secrets\/[\w-]+(\/\w+)?\/?$/i

/** URLs with a password, JSON web tokens, PEM blocks, and prefixes that providers give their keys. */
const secretValue =
  /^[a-z][a-z0-9+.-]*:\/\/[^/\s:@]*:[^/\s@]+@|^eyJ[\w-]{8,}\.[\w-]+\.[\w-]*$|-----BEGIN [A-Z ]*PRIVATE KEY-----|^(sk-|sk_live_|ghp_|gho_|ghs_|github_pat_|glpat-|xox[abprs]-|AKIA|AIza|npm_|hf_)[\w-]{8,}|(^|;)\s*(AccountKey|SharedAccessKey|Password)=/i
