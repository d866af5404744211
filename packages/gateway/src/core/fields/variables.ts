import { compileGlob } from '../../lib/glob.ts'
import { imagePattern, type Image } from './image-pattern.ts'
import type { ResourceKind } from '../resource.ts'

/**
 * One entry of an allow list: a name pattern, or a name pattern with the values that it may have.
 */
export type VariableRule =
  | string
  | { readonly name: string; readonly values?: readonly string[] | undefined }

/** The settings that decide which variables a caller may give to an image. */
export interface VariableSettings {
  readonly images: readonly {
    readonly pattern: string
    readonly roles: readonly string[]
    readonly variables?: readonly VariableRule[] | undefined
  }[]
  /** `variables` of `runtime.images`, by the name of the image. */
  readonly imageVariables?: Readonly<Record<string, readonly VariableRule[] | undefined>>
}

/** The roles with which somebody chose what runs. */
export interface Chooser {
  readonly roles: readonly string[]
}

export interface VariableRefusal {
  readonly variable: string
  /** Why the variable is refused and what helps, as sentences. */
  readonly detail: string
}

/**
 * A variable of a workload. The value is absent if a secret supplies it and the value is not known
 * yet.
 */
export type GivenVariables = Readonly<Record<string, { readonly value?: string }>>

/** The first variable that may not be given to an image; undefined when all may. */
export type CheckVariables = (
  chooser: Chooser,
  kind: ResourceKind,
  image: Image,
  variables: GivenVariables,
) => VariableRefusal | undefined

/**
 * Variables that make loaders, interpreters, shells and package managers run other code, or trust
 * other certificates and proxies. Each alternative is a whole name.
 */
const loaderNames = new RegExp(
  `^(?:${[
    // Loaders and the C library.
    'LD_.*|DYLD_.*|_RLD.*|LIBPATH|SHLIB_PATH|GCONV_PATH|LOCPATH|NLSPATH|GETCONF_DIR|HOSTALIASES',
    'LOCALDOMAIN|RES_OPTIONS|RESOLV_.*|MALLOC_.*|GLIBC_TUNABLES|TZDIR|LIBC_.*|JEMALLOC_.*|ASAN_.*',
    // Shells and the system.
    'BASH.*|ENV|PATH|PATHEXT|HOME|SHELL|SHELLOPTS|IFS|CDPATH|PS4|PROMPT_COMMAND|ZDOTDIR|FPATH',
    'COMSPEC',
    'TMPDIR|TEMP|TMP|XDG_.*|USER|LOGNAME|USERPROFILE|APPDATA|LOCALAPPDATA|PROGRAMDATA|SYSTEMROOT',
    'EDITOR|VISUAL|PAGER|LESS.*|BROWSER|MANPAGER|TERMINFO.*|TERMCAP|.*_(?:EDITOR|PAGER|BROWSER)',
    // Programs that start or load the things that these variables name.
    'TAR_OPTIONS|RIPGREP_CONFIG_PATH|FZF_.*|MAKEFLAGS|MAKEFILES|.*_RSH|PSMODULEPATH|POWERSHELL_.*',
    'DBUS_.*|GTK_.*|QT_.*|GIO_(?:EXTRA|MODULE).*|GST_(?:PLUGIN|REGISTRY).*|GDK_PIXBUF.*|MAGICK_.*',
    'GS_LIB.*|SASL_PATH|ODBC(?:INI|SYSINI|INSTINI)|LIBGL_.*|LIBVA_.*|VK_(?:ICD|LAYER|DRIVER).*',
    'OCL_ICD_.*|NIX_.*|AWS_CONFIG_FILE|AWS_SHARED_CREDENTIALS_FILE|TF_CLI_.*',
    'CLOUDSDK_(?:CONFIG|PYTHON.*)',
    // JavaScript.
    'NODE|NODE_.*|NPM_.*|YARN_.*|PNPM_.*|COREPACK_.*|DENO_.*|BUN_.*|TSX_.*|TS_NODE_.*',
    'NVM_.*|VOLTA_.*|ELECTRON_.*|V8_.*',
    '(?:PUPPETEER|PLAYWRIGHT|CHROME|CHROMIUM)_(?:.*_)?(?:PATH|BIN|ARGS|FLAGS)',
    // Python.
    'PYTHON.*|_?PYTHON|PIP_.*|UV_.*|VIRTUAL_ENV|CONDA.*|PYENV_.*|POETRY_.*|PDM_.*|PIPX_.*|HATCH_.*',
    '__PYVENV_LAUNCHER__',
    // Ruby, Perl, PHP, Lua, R, Tcl, Guile.
    'RUBY.*|GEM_.*|BUNDLE_.*|BUNDLER_.*|RBENV_.*|PERL.*|PHP.*|PHPRC|COMPOSER.*|LUA_.*|LUAROCKS_.*',
    'R_.*|TCL.*|TK_LIBRARY|GUILE_.*|JULIA_.*',
    // Java and other virtual machines.
    'JAVA_.*|_JAVA_.*|JDK_.*|_?JDK.*|CLASSPATH|MAVEN_.*|MVN_.*|GRADLE_.*|KOTLIN_.*|JBANG_.*|SBT_.*',
    'IBM_JAVA.*|OPENJ9_.*|GRAALVM_.*|SCALA_.*|JRE_HOME|ANT_(?:OPTS|ARGS|HOME)|CATALINA_.*',
    'JVM_(?:OPTS|ARGS)|SPRING_(?:CONFIG|APPLICATION|CLOUD)_.*',
    // .NET.
    'DOTNET_.*|COMPLUS_.*|CORECLR_.*|COR_.*|MONO_.*|NUGET_.*',
    'ASPNETCORE_HOSTINGSTARTUP.*|ASPNETCORE_.*',
    // Go, Rust, Erlang, Elixir, Haskell, OCaml.
    'GO(?:DEBUG|TRACEBACK|FLAGS|ENV|PROXY|PRIVATE|NOPROXY|NOSUMDB|SUMDB|ROOT|PATH|BIN)',
    'GO(?:CACHE|MODCACHE|TOOLCHAIN|TOOLDIR|WORK|INSECURE|VCS|TMPDIR|GC|MEMLIMIT|MAXPROCS)',
    'GO(?:COVERDIR|AUTH|FIPS140|EXPERIMENT)',
    'CGO_.*|CARGO.*|RUST.*|ERL_.*|ELIXIR_.*|MIX_.*|HEX_.*|GHCRTS|CAML.*|OCAML.*',
    'CC|CXX|LDFLAGS|CFLAGS',
    // Version control, remote shells, containers.
    'GIT_.*|SSH.*|SVN_.*|HG.*|DOCKER_.*|CONTAINER_HOST|KUBECONFIG|KUBERNETES_.*|SUDO_.*|GNUPGHOME',
    // Certificates and proxies.
    'OPENSSL_.*|SSL_.*|SSLKEYLOGFILE|.*_PROXY|REQUESTS_CA_BUNDLE|CURL_.*|WGETRC',
    '.*_CA_(?:CERTS?|BUNDLE|FILE)',
    'KRB5.*|GSS_.*|NSS_.*|P11_.*|PKCS11_.*|NETRC',
    // The gateway itself.
    'HOST|PORT|MCPGW_.*|MCP_(?:HOST|PORT|ALLOWED_HOSTS)',
  ].join('|')})$`,
  'i',
)

/** These make the image `mcp-proxy` run a command, call an address or read a file. */
const commandNames = /^MCP_(?:COMMAND|ARGS|CWD|PROXY_.*|AZURE_.*)$/i

/** True if only callers who may run any code may set this variable. */
export function isLoaderVariable(name: string): boolean {
  return loaderNames.test(name)
}

/** True if a variable tells the image `mcp-proxy` what to run, call or read. */
export function isCommandVariable(name: string): boolean {
  return commandNames.test(name)
}

/** The image that runs the command in its variables, as in the original. */
const bridgeImage = 'mcp-proxy'

/**
 * Decides which variables a caller may give to an image. Callers who may run every image
 * (`runsAny`) may give any variable.
 */
export function variablePolicy(
  { images, imageVariables = {} }: VariableSettings,
  runsAny: (chooser: Chooser, kind: ResourceKind) => boolean,
): CheckVariables {
  const rules = images.map((rule) => ({
    ...rule,
    fits: imagePattern(rule.pattern),
    allows: rule.variables === undefined ? undefined : allowList(rule.variables),
  }))
  const ofImages = new Map(
    Object.entries(imageVariables).flatMap(([name, list]) =>
      list === undefined ? [] : [[name, allowList(list)] as const],
    ),
  )

  return (chooser, kind, image, variables) => {
    if (runsAny(chooser, kind)) return undefined

    const rule = rules.find(({ fits }) => fits(image))
    const ofImage = ofImages.get(image.name)
    const allows = rule?.allows ?? ofImage
    // Without a list, the bridge may run any command, so variables add no further right.
    if (allows === undefined && image.name === bridgeImage) return undefined

    const byRule = rule !== undefined && (rule.allows !== undefined || ofImage === undefined)
    const general =
      ofImage === undefined ? 'access.images' : `runtime.images.${image.name}.variables`
    const place = byRule ? `the rule '${rule.pattern}' of access.images` : general

    for (const [variable, { value }] of Object.entries(variables)) {
      const why = refusalOf(variable, value, allows, rule === undefined)
      if (why !== undefined)
        return {
          variable,
          detail:
            `The variable '${variable}' may not be set for the image ` +
            `'${image.name}:${image.version}' by ${place}: ${why}`,
        }
    }

    return undefined
  }
}

interface Allowance {
  readonly exact: boolean
  readonly fits: (variable: string) => boolean
  readonly values: readonly ((value: string) => boolean)[] | undefined
}

function allowList(list: readonly VariableRule[]): readonly Allowance[] {
  return list.map((entry) => {
    const { name, values } = typeof entry === 'string' ? { name: entry } : entry
    return {
      exact: !/[*?]/.test(name),
      fits: compileGlob(name),
      values: values?.map((value) => compileGlob(value)),
    }
  })
}

/**
 * Why a variable may not be set; undefined if it may. `open`: no rule fits the image, so names are
 * free.
 */
function refusalOf(
  variable: string,
  value: string | undefined,
  allows: readonly Allowance[] | undefined,
  open: boolean,
): string | undefined {
  if (isLoaderVariable(variable))
    return (
      'it can make the program run other code. Only callers who may run every image ' +
      'may set it.'
    )
  if (allows === undefined && open) return undefined

  const command = isCommandVariable(variable)
  const fitting = (allows ?? []).filter(({ exact, fits }) => fits(variable) && (exact || !command))
  if (fitting.length === 0)
    return command
      ? 'it decides what the image runs or calls. An operator can name it there without a wildcard.'
      : 'its name is not listed there. An operator can add it to `variables`.'

  const allowed = fitting.some(
    ({ values }) =>
      values === undefined || (value !== undefined && values.some((fits) => fits(value))),
  )
  if (allowed) return undefined

  return value === undefined
    ? 'its values are listed there, so it cannot come from a secret.'
    : 'its value is not listed there.'
}
