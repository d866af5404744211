export { findAmbiguity, refusalOf, type Refusal } from './ambiguity.ts'
export { findDuplicateKey } from './json/duplicate-key.ts'
export { EventRewriter } from './framing/event-rewriter.ts'
export { isCostly } from './json/json-cost.ts'
export * from './json/json-slice.ts'
export * from './framing/line-framing.ts'
export * from './message.ts'
export * from './modern.ts'
export * from './json/raw-object.ts'
export * from './server-eras.ts'
export * from './framing/sse.ts'
export { Pieces, TextPieces } from './pieces.ts'
export { Bag, ObjectTable, Table, type Slot } from './table.ts'
export { noSuchTask, TaskOwners } from './task-owners.ts'
export {
  initializedMessage,
  type ConnectionListener,
  type LegacyConnection,
} from './translate/conversation.ts'
export {
  notificationMessage,
  requestMessage,
  giveResult,
  resultMessage,
  type Exchange,
} from './translate/exchange.ts'
export {
  LegacyToModern,
  type ModernEndpoint,
  type ModernHost,
} from './translate/legacy-to-modern.ts'
export {
  ModernToLegacy,
  type Holding,
  type LegacyHost,
  type ModernToLegacyOptions,
} from './translate/modern-to-legacy.ts'
export { SubscribedUris } from './translate/kept.ts'
export { ModernMultiplexer } from './translate/multiplexer.ts'
export {
  declaredHeaders,
  inspectHeaders,
  paramHeaderMistake,
  paramHeaders,
} from './translate/param-headers.ts'
export * from './versions.ts'
