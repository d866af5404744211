import type { IncomingMessage, ServerResponse } from 'node:http'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createEdge, requestIdOf } from './edge.ts'

function request(headers: Record<string, string>, method = 'POST'): IncomingMessage {
  return {
    method,
    headers,
    rawHeaders: Object.entries(headers).flat(),
  } as unknown as IncomingMessage
}
function response(): { headers: Record<string, string>; asResponse: ServerResponse } {
  const headers: Record<string, string> = {}
  return {
    headers,
    asResponse: {
      setHeader: (name: string, value: string) => (headers[name] = value),
      writeHead: () => undefined,
      end: () => undefined,
    } as unknown as ServerResponse,
  }
}
const edge = createEdge({
  allowedHosts: ['gateway.example'],
  allowedOrigins: ['https://app.example'],
})
const outcome = (headers: Record<string, string>): string => {
  try {
    edge.admit(request(headers), response().asResponse)
    return 'admitted'
  } catch (error) {
    return (error as { code: string }).code
  }
}

describe('the edge', () => {
  test.each([
    'localhost:8000',
    '127.0.0.1',
    '[::1]:8000',
    'LOCALHOST',
    'gateway.example',
    'gateway.example:443',
  ])('the edge admits Host %s', (host) => {
    expect(outcome({ host })).toBe('admitted')
  })

  test.each([
    'evil.example',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'localhost:8000@evil.example',
    '',
    '[::1',
    'localhost:evil',
    '*',
  ])('the edge refuses Host %j', (host) => {
    expect(outcome({ host })).toBe('host_not_allowed')
  })

  test('the edge refuses a request without Host', () => {
    expect(outcome({})).toBe('host_not_allowed')
  })

  test('the edge refuses a second Host header', () => {
    const twice = request({ host: 'localhost' })
    twice.rawHeaders.push('HOST', 'evil.example')
    expect(() => edge.admit(twice, response().asResponse)).toThrow(/more than one Host/)
  })

  test.each([
    ['http://localhost:8000', 'localhost:8000'],
    ['http://localhost:6274', 'localhost:8000'],
    ['https://gateway.example', 'gateway.example'],
    ['https://app.example', 'gateway.example'],
  ])('the edge admits Origin %s at Host %s', (origin, host) => {
    expect(outcome({ host, origin })).toBe('admitted')
  })

  test.each([
    ['https://evil.example', 'localhost:8000'],
    ['http://evil.example', 'gateway.example'],
    ['http://localhost:6274', 'gateway.example'],
    ['null', 'localhost:8000'],
    ['http://localhost.evil.example', 'localhost:8000'],
    ['http://localhost:1@evil.example', 'localhost:8000'],
  ])('the edge refuses Origin %s at Host %s', (origin, host) => {
    expect(outcome({ host, origin })).toBe('origin_not_allowed')
  })

  test('a configured origin alone gets CORS answers', () => {
    const configured = response()
    edge.admit(request({ host: 'localhost', origin: 'https://app.example' }), configured.asResponse)
    expect(configured.headers['access-control-allow-origin']).toBe('https://app.example')
    const own = response()
    edge.admit(request({ host: 'localhost:8000', origin: 'http://localhost:8000' }), own.asResponse)
    expect(own.headers).toEqual({})
  })

  test('a request id of the caller is kept only when it cannot forge a log line', () => {
    const kept = request({ host: 'localhost', 'x-request-id': 'abc-1.2:3' })
    edge.admit(kept, response().asResponse)
    expect(requestIdOf(kept)).toBe('abc-1.2:3')
    const forged = request({ host: 'localhost', 'x-request-id': 'a\nb' })
    edge.admit(forged, response().asResponse)
    expect(requestIdOf(forged)).toMatch(/^[0-9a-f]{10}-[0-9a-z]+$/)
  })

  test('no random host is admitted unless it is one of the allowed names', () => {
    fc.assert(
      fc.property(fc.string(), (host) => {
        const name = host.replace(/:\d{1,5}$/, '').toLowerCase()
        const allowed = ['localhost', '127.0.0.1', '[::1]', 'gateway.example'].includes(name)
        expect(outcome({ host }) === 'admitted').toBe(allowed)
      }),
    )
  })
})
