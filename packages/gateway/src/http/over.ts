import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { GatewayError } from '../core/errors.ts'

interface Course {
  readonly start: number
  begun: boolean
  answered: boolean
  gone: boolean
  over: boolean
}

/** A request that is over. */
export interface Over {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  /** What it was answered with instead of what it asked for, or that its client went before there was an answer. */
  readonly error: GatewayError | undefined
  readonly durationMs: number
}

/**
 * Tells of each request of an app once it is over: its answer is sent, or its client has gone, and then not before what the request has set
 * going has come to its end, as it is done all the same. (Fastify's `onResponse` tells of answers alone that were sent whole.)
 */
export function whenOver(app: FastifyInstance, told: (over: Over) => void): void {
  const courses = new WeakMap<FastifyRequest, Course>()
  const look = (request: FastifyRequest, reply: FastifyReply, course: Course): void => {
    if (course.over || !course.gone || (course.begun && !course.answered)) return
    course.over = true
    const error =
      request.problem ?? (course.answered ? undefined : new GatewayError('client_closed_request'))
    told({
      request,
      reply,
      error,
      durationMs: Math.round((performance.now() - course.start) * 100) / 100,
    })
  }
  app.addHook('onRequest', async (request, reply) => {
    const course: Course = {
      start: performance.now(),
      begun: false,
      answered: false,
      gone: false,
      over: false,
    }
    courses.set(request, course)
    reply.raw.once('close', () => {
      course.gone = true
      look(request, reply, course)
    })
  })
  app.addHook('preHandler', async (request) => {
    const course = courses.get(request)
    if (course !== undefined) course.begun = true
  })
  app.addHook('onSend', async (request, reply) => {
    const course = courses.get(request)
    if (course === undefined) return
    course.answered = true
    look(request, reply, course)
  })
}
