/**
 * The service beside the members of the chaos tests: the count that they tell, and an HTTP service
 * for a registered tool. Nothing kills it.
 */
import { createServer } from 'node:http'

let count = 0
const followers = new Set()

const server = createServer((request, response) => {
  request.resume()
  switch (`${request.method} ${request.url}`) {
    case 'GET /counts':
      response.writeHead(200, { 'content-type': 'text/plain' }).write(`${count}\n`)
      followers.add(response)
      return response.on('close', () => followers.delete(response))
    case 'POST /count':
      count += 1
      for (const each of followers) each.write(`${count}\n`)
      return response.end(String(count))
    case 'POST /tool':
      response.setHeader('content-type', 'application/json')
      return response.end(JSON.stringify({ incarnation: 'service', count }))
    default:
      return response.writeHead(404).end()
  }
})
// A connection that ends while a request is on its way would look like a fault.
server.keepAliveTimeout = 0
server.listen(Number(process.env.PORT), process.env.HOST, () =>
  console.log(`http://${process.env.HOST}:${server.address().port}`),
)
