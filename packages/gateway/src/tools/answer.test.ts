import { expect, test } from 'vitest'
import { AnswerTooLong, readAnswer } from './answer.ts'

const costly = `[${'{},'.repeat(200_001)}1]`

test.each([
  ['application/json', costly],
  ['text/event-stream', `data: ${costly}\n\n`],
  ['application/x-ndjson', `${costly}\n`],
])('an answer of 200,001 objects as %s is refused before it is read', async (contentType, text) => {
  const body = (async function* () {
    yield Buffer.from(text)
  })()
  const options = {
    limitBytes: 8_000_000,
    output: undefined,
    resourceUri: 'tool://t',
    progress: undefined,
    hold: () => undefined,
  }

  await expect(readAnswer({ status: 200, contentType, body }, options)).rejects.toThrow(
    AnswerTooLong,
  )
})
