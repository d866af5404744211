import { describe, expect, test } from 'vitest'
import { defaultQuestions, memberCapabilities, passQuestions } from './questions.ts'

const open = { elicitation: true, urlHosts: ['*'], sampling: true, roots: true }
const asked = (method: string, params: object): string =>
  JSON.stringify({ 'key/1': { method, params } })

describe('the capabilities that a member sees', () => {
  test.each([
    ['{}', '{}'],
    [undefined, '{}'],
    ['{"elicitation":{}}', '{"elicitation":{"form":{}}}'],
    ['{"elicitation":{"form":{},"url":{}}}', '{"elicitation":{"form":{}}}'],
    ['{"elicitation":{"url":{}}}', '{}'],
    ['{"sampling":{},"roots":{},"experimental":{"x":1}}', '{"experimental":{"x":1}}'],
  ])('the usual policy makes %s of the client into %s for the member', (given, seen) => {
    expect(memberCapabilities(given, defaultQuestions)).toBe(seen)
  })

  test('an open policy passes every capability on', () => {
    const all = '{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}'
    expect(memberCapabilities(all, open)).toBe(all)
  })
})

describe('the questions of a member', () => {
  test('a form names the member that asks', () => {
    const params = { mode: 'form', message: 'Your name?', requestedSchema: { type: 'object' } }
    expect(passQuestions(asked('elicitation/create', params), 'Mail', defaultQuestions)).toEqual({
      inputRequests: asked('elicitation/create', { ...params, message: '[Mail] Your name?' }),
    })
  })

  test.each([
    ['sampling/createMessage', { messages: [] }, 'a completion of your model'],
    ['roots/list', {}, 'your folders'],
    ['elicitation/create', { mode: 'url', url: 'https://evil.example/' }, "'evil.example'"],
    ['tools/call', { name: 'x' }, "'tools/call'"],
  ])('the usual policy holds %s %j back', (method, params, reason) => {
    expect(passQuestions(asked(method, params), 'Mail', defaultQuestions)).toEqual({
      refused: expect.stringContaining(reason),
    })
  })

  test.each([
    ['https://a.example/x', true],
    ['https://a.example.evil.example/x', false],
    ['https://a.example@evil.example/x', false],
    ['javascript:alert(1)', false],
    ['no address', false],
  ])('a page is opened only at a host of the policy: %s', (url, passes) => {
    const policy = { ...defaultQuestions, urlHosts: ['a.example'] }
    const passed = passQuestions(asked('elicitation/create', { mode: 'url', url }), 'M', policy)
    expect('inputRequests' in passed).toBe(passes)
  })
})
