/** The count that all members of the chaos tests tell. The service at COUNTER keeps it. */
import { randomUUID } from 'node:crypto'
import { get } from 'node:http'

let count
let known
const first = new Promise((resolve) => (known = resolve))
const listeners = new Set()

/** Reads the stream of counts, a line each, and opens it again when it ends. */
function follow() {
  const again = () => setTimeout(follow, 50)
  const request = get(new URL('/counts', process.env.COUNTER), (response) => {
    let rest = ''
    response.setEncoding('utf8').on('data', (text) => {
      const lines = (rest + text).split('\n')
      rest = lines.pop()
      if (lines.length > 0) learn(Number(lines.at(-1)))
    })
    response.on('close', again)
  })
  request.on('error', () => undefined).on('close', () => request.res ?? again())
}

function learn(now) {
  const changed = count !== undefined && count !== now
  count = now
  known()
  if (changed) for (const listener of listeners) listener()
}

follow()

/** Calls back when the count has changed. Returns the function that ends it. */
export function onChange(listener) {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

export const uri = 'count://now'
const incarnation = randomUUID()

/** The result of the tool `where`: which process answers, and the count there. */
export async function where() {
  await first
  return { content: [{ type: 'text', text: JSON.stringify({ incarnation, count }) }] }
}

export async function contents() {
  await first
  return { contents: [{ uri, text: String(count) }] }
}
