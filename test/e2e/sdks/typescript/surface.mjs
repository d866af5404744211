/** The tools of the matrix, for both versions of the SDK. */
export const note = 'note://shared'
export const question = {
  message: 'Who are you?',
  requestedSchema: {
    type: 'object',
    properties: { name: { type: 'string' } },
    required: ['name'],
  },
}
export const text = (value) => ({ content: [{ type: 'text', text: String(value) }] })
export const noteContents = { contents: [{ uri: note, text: 'a note' }] }
export const greeting = ({ name }) => ({
  messages: [{ role: 'user', content: { type: 'text', text: `Greet ${name}` } }],
})
