import { errorAnswer, errorCode, type Exchange, type ModernRequest } from '@mcp-gateway/protocol'
import type { AggregateCaller } from '../members/member.ts'

/** A request of a client to an aggregate. */
export interface Asked {
  readonly caller: AggregateCaller
  readonly request: ModernRequest
  readonly exchange: Exchange
}

/** Answers that the parameters are wrong. `message` says how. */
export function refuseParams({ request, exchange }: Asked, message: string, data?: object): void {
  exchange.answer(200, errorAnswer(request.id, errorCode.invalidParams, message, data))
}
