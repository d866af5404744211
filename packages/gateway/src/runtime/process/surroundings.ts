import { openSync } from 'node:fs'
import type { Mark } from '@mcp-gateway/warden'
import { inheritedDescriptors } from '../../lib/inherited-descriptors.ts'
import { ListeningSockets } from '../../lib/net/socket-owner.ts'
import type { OpenRuntimeOptions } from '../open-options.ts'
import { ControlGroups } from './control-groups.ts'
import type { Sandbox } from './launch.ts'
import { OutputPace } from './replica/output-pace.ts'
import { openSandbox } from './sandbox/sandbox.ts'

/** Passes inherited values to processes, and keeps the processes apart. */
export interface Surroundings {
  readonly inherited: Readonly<Record<string, string>>
  /** Variables by which all processes of this gateway are found again. */
  readonly marks: Readonly<Record<string, string>>
  readonly sandbox: Sandbox
  /** Undefined where the machine has no usable groups, or `bwrap` makes them unnecessary. */
  readonly groups: ControlGroups | undefined
  readonly listening: ListeningSockets
  readonly pace: OutputPace
  readonly covers: readonly ('ignore' | number)[]
}

/** `data` marks the processes of this data folder, `owner` those of this gateway's process. */
export async function openSurroundings(
  options: OpenRuntimeOptions,
  { data, owner }: { readonly data: Mark; readonly owner: Mark },
): Promise<Surroundings> {
  const environment = inherited(options.environment)
  const { settings, programs } = options
  const sandbox = openSandbox({
    sandbox: settings.sandbox,
    homes: settings.homes,
    users: settings.sandboxUsers,
    processes: settings.ownerProcesses,
    dataDir: options.dataDir,
    mounts: settings.mounts,
    privateFiles: options.privateFiles,
    privateFolders: options.privateFolders,
    readableFiles: fileVariables.flatMap((name) => environment[name] ?? []),
    userHome: options.environment['HOME'],
    program: programs['mcp-proxy']?.command.at(-1) ?? process.execPath,
    programs: Object.values(programs),
    path: options.environment['PATH'] ?? '',
    log: options.log,
  })

  return {
    inherited: environment,
    marks: { [data.name]: data.value, [owner.name]: owner.value },
    sandbox,
    groups: await openGroups(sandbox, [data.value, owner.value], options.log),
    listening: new ListeningSockets(),
    pace: new OutputPace(),
    covers: coversOf(inheritedDescriptors()),
  }
}

/** Processes in `bwrap` end with it, so they need no control group. */
async function openGroups(
  sandbox: Sandbox,
  [series, name]: readonly [string, string],
  log: OpenRuntimeOptions['log'],
): Promise<ControlGroups | undefined> {
  if (sandbox.kind === 'bwrap' || process.platform !== 'linux') return undefined
  const groups = await ControlGroups.open(series, name)
  if (typeof groups !== 'string') return groups

  log.info({ reason: groups }, 'a server that hides its processes may leave some behind')
  return undefined
}

/** A server's descriptors from the fourth on: none leads to files that the gateway inherited. */
function coversOf(inherited: readonly number[]): ('ignore' | number)[] {
  if (inherited.length === 0) return []
  const nothing = openSync('/dev/null', 'r+')
  return Array.from({ length: Math.max(...inherited) - 2 }, (_, index) =>
    inherited.includes(index + 3) ? nothing : 'ignore',
  )
}

/**
 * Variables that workloads need to find programs, registries and certificates. Workloads get no
 * other variable of the gateway.
 */
const inheritedPatterns = [
  String.raw`PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TEMP|TMP`,
  '(https?|no|all)_proxy',
  'SSL_CERT_(FILE|DIR)|NODE_EXTRA_CA_CERTS|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE',
  String.raw`XDG_\w+`,
  String.raw`npm_config_(registry|cache)|PIP_INDEX_URL|UV_\w+|DOTNET_ROOT|JAVA_HOME`,
  'SYSTEMROOT|APPDATA|LOCALAPPDATA',
]
const inheritedNames = new RegExp(`^(${inheritedPatterns.join('|')})$`, 'i')

/** Inherited variables that name files which servers read. */
const fileVariables = [
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'NODE_EXTRA_CA_CERTS',
  'REQUESTS_CA_BUNDLE',
  'CURL_CA_BUNDLE',
]

function inherited(environment: OpenRuntimeOptions['environment']): Record<string, string> {
  const entries = Object.entries(environment).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && inheritedNames.test(entry[0]),
  )
  return Object.fromEntries(entries)
}
