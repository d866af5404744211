/** The tools of the matrix, for both versions of the SDK. */
export const note = 'note://shared'

/** The names of a server's items, also at a virtual server that has it under an alias. */
export function namesOf(alias) {
  return alias === undefined
    ? { named: (name) => name, note }
    : { named: (name) => `${alias}_${name}`, note: `${alias}+${note}` }
}

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
