import {
  errorAnswer,
  errorCode,
  metaKey,
  readObject,
  type Exchange,
  type ModernRequest,
  type RawObject,
} from '@mcp-gateway/protocol'
import type { InnerAct } from '../../audit/inner-act.ts'
import type { TicketHolder, Tickets } from './tickets.ts'

/** The extension by which servers answer calls with tasks (SEP-2663). */
const extension = 'io.modelcontextprotocol/tasks'
const declaration = { extensions: { [extension]: {} } }

/** A member of the capabilities of an aggregate that may have tasks, as raw JSON. */
export const tasksCapability = `"extensions":${JSON.stringify(declaration.extensions)}`

/** Methods about a task, all with its id as parameter. */
export const taskMethods: ReadonlySet<string> = new Set([
  'tasks/get',
  'tasks/update',
  'tasks/cancel',
])

/** Milliseconds for which a task can be asked about. Its server may keep it for less. */
const keptMs = 30 * 24 * 3600_000
/** Clients repeat an id in a header, whose length servers limit. */
const longestPlace = 2048

/** A task at its member. */
export interface TaskPlace {
  readonly alias: string
  /** The incarnation of the member. A successor of the same alias does not know the task. */
  readonly uid: string | undefined
  /** The tool whose call became the task, as the member knows it. */
  readonly tool: string
  /** The id that the member gave. */
  readonly taskId: string
}

export function declaresTasks(meta: RawObject): boolean {
  const capabilities = readObject(meta.get(metaKey.clientCapabilities))
  return readObject(capabilities?.get('extensions'))?.has(extension) === true
}

/** Answers a client that asks about tasks, and does not declare that it knows them. */
export function refuseUndeclared({ id }: ModernRequest, exchange: Exchange): void {
  const text = `Missing required client capability: ${extension}`
  const data = { requiredCapabilities: declaration }
  exchange.answer(400, errorAnswer(id, errorCode.missingCapability, text, data))
}

/** The id by which the caller alone can ask about a task. Undefined if the member's is too long. */
export function sealTask(
  tickets: Tickets,
  holder: TicketHolder,
  { alias, uid, tool, taskId }: TaskPlace,
): string | undefined {
  const place = JSON.stringify([alias, uid ?? null, tool, taskId])
  return place.length > longestPlace ? undefined : tickets.issue('task', holder, place, keptMs)
}

/** Undefined for an id that the aggregate did not give to this caller. */
export function openTask(
  tickets: Tickets,
  holder: TicketHolder,
  id: string,
): TaskPlace | undefined {
  const text = tickets.open('task', holder, id)
  if (text === undefined) return undefined
  const [alias, uid, tool, taskId] = JSON.parse(text) as [string, string | null, string, string]
  return { alias, uid: uid ?? undefined, tool, taskId }
}

/** True if a member is the one that made a task. */
export function isOf({ uid }: TaskPlace, subject: InnerAct['subject']): boolean {
  return subject.uid === uid
}
