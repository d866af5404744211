export { accepts, sendAmbiguous, sendJson, sendRpcError } from './answers.ts'
export { readBody, type BodyBounds } from './body.ts'
export { monotonicNow } from './clock.ts'
export { Connections, endSoon } from './connections.ts'
export { modernHeaders } from './http-modern-endpoint.ts'
export {
  isLate,
  legacyPostHeaders,
  sendHttp,
  whyNoAnswer,
  type HttpUpstream,
} from './http-upstream.ts'
export { readMessages, unreadableAnswer } from './message-reader.ts'
export { ModernFront, type ModernServer } from './modern-front.ts'
export { Places } from './places.ts'
export { rawHeader } from './raw-header.ts'
export { Relay } from './relay.ts'
export { followRedirects, placeOf, redirectsElsewhere } from './redirects.ts'
export { knowsSession } from './session-check.ts'
export { brokenOff, deaf, maxUnread, type Link, type Session } from './session.ts'
export { allBusy, Sessions } from './sessions.ts'
export { Shares, type Share, type Shortage } from './shares.ts'
export { translatedLink, translationLimits, Translator, type Backlog } from './translator.ts'
export { countUnsent } from './unsent.ts'
