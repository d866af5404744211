import { createServer } from 'node:http'
import { json } from 'node:stream/consumers'

const { PORT = '8000', HOST = '0.0.0.0' } = process.env

const skies = ['sunny', 'partly cloudy', 'cloudy', 'rainy', 'windy']

/** Made-up weather, the same for the same place. */
function weatherOf(location: string): {
  location: string
  temperature: number
  condition: string
  humidity: number
} {
  const seed = Array.from(location.toLowerCase()).reduce(
    (sum, letter) => (sum * 31 + (letter.codePointAt(0) ?? 0)) % 9973,
    7,
  )
  return {
    location,
    temperature: (seed % 35) - 5,
    condition: skies[seed % skies.length] ?? 'sunny',
    humidity: 30 + (seed % 60),
  }
}

const http = createServer(async (request, response) => {
  const answer = (status: number, body: unknown): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
  if (request.method === 'GET' && request.url === '/healthz') return answer(200, { status: 'ok' })
  if (request.method !== 'POST' || request.url !== '/score')
    return answer(404, { error: 'POST /score' })
  const input: unknown = await json(request).catch(() => undefined)
  const location =
    typeof input === 'object' && input !== null && 'location' in input ? input.location : undefined
  if (typeof location !== 'string' || location === '')
    return answer(422, { error: 'location must be a text' })
  answer(200, weatherOf(location))
})

http.listen(Number(PORT), HOST, () => console.log(`tool-example listens on ${HOST}:${PORT}`))
process.once('SIGTERM', () => process.exit(0))
