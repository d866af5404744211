/**
 * Default rule for secret environment variables: the name holds a word of the list below, or the
 * value looks like a credential. A given `{"value", "secret"}` overrules it either way.
 */
export function looksSecret(name: string, value: string): boolean {
  if (secretValue.test(value)) return true
  if (name === 'MCP_ARGS') return holdsSecretArgument(value)
  return secretName.test(name) && !plainChoice.test(value) && !secretPlace.test(value)
}

/** Finds `--token x`, `--api-key=x`, a key of a known provider, or `Bearer x`. */
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

const secretWords = [
  'API_?KEYS?|KEYS?|TOKENS?|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|PWD|PAT|CREDENTIALS?',
  'CONNECTION_?STRINGS?|PRIVATE|SAS|AUTH|AUTHORIZATION|COOKIES?|DSN|CERT|HEADERS|SIGNATURE',
]
const secretName = new RegExp(
  `(^|[-_.])(${secretWords.join('|')})([-_.]|$)|(PASSWORD|SECRET|APIKEY|ACCESSKEY|TOKEN)$`,
  'i',
)

/**
 * Words and switches that choose a method, and are not secret, as in
 * `AZURE_TOKEN_CREDENTIALS=WorkloadIdentityCredential` or `…_INCLUDE_PRODUCTION_CREDENTIALS=true`.
 */
const plainChoice = /^(true|false|yes|no|on|off|none|null|\d{1,6}|[A-Z][A-Za-z]*Credential)?$/

/** The address of a secret in Azure Key Vault. The address alone opens nothing. */
const secretPlace = new RegExp(
  String.raw`^https://[a-z0-9-]+\.vault\.(azure\.net|azure\.cn|usgovcloudapi\.net)` +
    String.raw`/secrets/[\w-]+(/\w+)?/?$`,
  'i',
)

/** URLs with a password, JSON Web Tokens, PEM blocks, and the prefixes of providers' keys. */
const secretValue = new RegExp(
  [
    /^[a-z][a-z0-9+.-]*:\/\/[^/\s:@]*:[^/\s@]+@/,
    /^eyJ[\w-]{8,}\.[\w-]+\.[\w-]*$/,
    /-----BEGIN [A-Z ]*PRIVATE KEY-----/,
    /^(sk-|sk_live_|ghp_|gho_|ghs_|github_pat_|glpat-|xox[abprs]-|AKIA|AIza|npm_|hf_)[\w-]{8,}/,
    /(^|;)\s*(AccountKey|SharedAccessKey|Password)=/,
  ]
    .map(({ source }) => source)
    .join('|'),
  'i',
)
