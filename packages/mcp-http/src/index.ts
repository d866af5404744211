export { accepts, sendAmbiguous, sendJson, sendRpcError } from './answers.ts'
export { readBody, type BodyBounds } from './shares/body.ts'
export { monotonicNow } from './clock.ts'
export { Connections, cutUnread, endSoon, responseOn } from './shares/connections.ts'
export { modernHeaders, ModernSender } from './upstream/http-modern-endpoint.ts'
export {
  isLate,
  legacyPostHeaders,
  sendHttp,
  whyNoAnswer,
  type HttpUpstream,
} from './upstream/http-upstream.ts'
export { readMessages, unreadableAnswer } from './upstream/message-reader.ts'
export { ModernFront, type ModernServer } from './modern-front.ts'
export { Places } from './shares/places.ts'
export { rawHeader } from './raw-header.ts'
export { Relay } from './upstream/relay.ts'
export { followRedirects, placeOf, redirectsElsewhere } from './upstream/redirects.ts'
export { knowsSession } from './upstream/session-check.ts'
export { brokenOff, deaf, maxUnread, type Link, type Session } from './sessions/session.ts'
export { allBusy, Sessions } from './sessions/sessions.ts'
export { Shares, type Share, type Shortage } from './shares/shares.ts'
export { translatedLink, translationLimits, Translator, type Backlog } from './translator.ts'
export { countUnsent } from './shares/unsent.ts'
