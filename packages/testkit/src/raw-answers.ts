import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'

const ok = 'HTTP/1.1 200 OK\r\n'
const goOn = 'HTTP/1.1 100 Continue\r\n\r\n'
const body = 'Content-Length: 2\r\n\r\n{}'

/** Answers that no HTTP client should accept. */
export const brokenAnswers: Readonly<Record<string, string>> = {
  'two lengths': `${ok}Content-Length: 3\r\n${body}`,
  'one length twice': `${ok}Content-Length: 2\r\n${body}`,
  'a list of lengths': `${ok}Content-Length: 2, 2\r\n\r\n{}`,
  'a length with a sign': `${ok}Content-Length: +2\r\n\r\n{}`,
  'a length and chunks': `${ok}Transfer-Encoding: chunked\r\n${body}`,
  'a folded header': `${ok}Content-Type: application/json\r\n x\r\n${body}`,
  'a CR within a header': `${ok}X-Correlation-Id: a\rSet-Cookie: b=c\r\n${body}`,
  'an LF within a header': `${ok}X-Correlation-Id: a\nSet-Cookie: b=c\r\n${body}`,
  'a NUL within a header': `${ok}X-Correlation-Id: a\0b\r\n${body}`,
  'a control character within a header': `${ok}X-Correlation-Id: a\u0001b\r\n${body}`,
  'a long header': `${ok}X-Correlation-Id: ${'a'.repeat(40_000)}\r\n${body}`,
  'thousands of headers': `${ok}${'X-Correlation-Id: a\r\n'.repeat(3000)}${body}`,
  'thousands of informational answers': `${goOn.repeat(5000)}${ok}${body}`,
  'another protocol': 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nhello',
  'status 000': `HTTP/1.1 000 X\r\n${body}`,
  'no HTTP at all': '{}',
  'a session id of 12,000 characters': `${ok}Mcp-Session-Id: ${'s'.repeat(12_000)}\r\n${body}`,
}

/** Valid answers whose content must not reach clients. */
export const sneakyAnswers: Readonly<Record<string, string>> = {
  'early hints with a cookie': `HTTP/1.1 103 Early Hints\r\nSet-Cookie: a=b\r\n\r\n${ok}${body}`,
  'another answer behind it': `${ok}${body}${ok}Content-Length: 6\r\n\r\nSTOLEN`,
  trailers: `${ok}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nSet-Cookie: a=b\r\n\r\n`,
  'cookies and commands': [
    `${ok}Set-Cookie: a=b`,
    'SET_COOKIE: a=b',
    'X-Accel-Redirect: /x',
    'X_Accel_Redirect: /x',
    'Refresh: 0',
    'WWW-Authenticate: Basic',
    'Alt-Svc: h2',
    'X-Request-Id: forged',
    'Connection: x-request-id, content-security-policy',
    body,
  ].join('\r\n'),
  'two session ids': `${ok}Mcp-Session-Id: raw\r\nMcp-Session-Id: raw\r\n${body}`,
  'two types': `${ok}Content-Type: application/json\r\nContent-Type: text/html\r\n${body}`,
}

/**
 * A server on a bare socket. It answers with the exact bytes that the query names:
 * `?answer=trailers`.
 */
export class RawAnswers implements AsyncDisposable {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(server: Server) {
    this.#server = server
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
      socket.on('error', () => undefined)
      let request = ''
      socket.setEncoding('latin1').on('data', (text: string) => {
        request += text
        if (!request.includes('\r\n\r\n')) return

        const name = decodeURIComponent(/[?&]answer=([^ &]*)/.exec(request)?.[1] ?? '')
        request = ''
        socket.write(brokenAnswers[name] ?? sneakyAnswers[name] ?? `${ok}${body}`, 'latin1')
      })
    })
  }

  static async start(): Promise<RawAnswers> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new RawAnswers(server)
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }
}
