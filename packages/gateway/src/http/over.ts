import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { GatewayError } from '../core/errors.ts'

interface Course {
  readonly start: number
  answered: boolean
  gone: boolean
  over: boolean
}

/** A request that is over. */
export interface Over {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  /** The error that was the answer. Its client may have gone before. */
  readonly error: GatewayError | undefined
  readonly durationMs: number
}

/**
 * Calls `told` once a request's connection has closed and its answer exists: Fastify finishes a
 * request whose client has gone, but its `onResponse` covers only answers that were sent whole.
 */
export function whenOver(app: FastifyInstance, told: (over: Over) => void): void {
  const courses = new WeakMap<FastifyRequest, Course>()

  const look = (request: FastifyRequest, reply: FastifyReply, course: Course): void => {
    if (course.over || !course.gone || !course.answered) return
    course.over = true
    told({
      request,
      reply,
      error: request.problem ?? undefined,
      durationMs: Math.round((performance.now() - course.start) * 100) / 100,
    })
  }

  app.addHook('onRequest', async (request, reply) => {
    const course: Course = {
      start: performance.now(),
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

  app.addHook('onSend', async (request, reply) => {
    const course = courses.get(request)
    if (course === undefined) return
    course.answered = true
    look(request, reply, course)
  })
}
